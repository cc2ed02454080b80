/** Every route of the API: one line a resource. */
import type { ApiContext } from './context.ts';
import type { Route } from './route.ts';
import { accessRoutes } from './routes/access-routes.ts';
import { clusterRoutes } from './routes/cluster-routes.ts';
import { eventRoutes } from './routes/event-routes.ts';
import { jobRoutes } from './routes/job-routes.ts';
import { membershipRoutes } from './routes/membership-routes.ts';
import { moduleRoutes } from './routes/module-routes.ts';
import { monitoringRoutes } from './routes/monitoring-routes.ts';

export function allRoutes(context: ApiContext): readonly Route[] {
  const routes: Route[] = [
    ...clusterRoutes(context),
    ...membershipRoutes(context),
    ...moduleRoutes(context),
    ...jobRoutes(context),
    ...eventRoutes(context),
    ...accessRoutes(context),
    ...monitoringRoutes(context, () => routes),
  ];
  return routes;
}
