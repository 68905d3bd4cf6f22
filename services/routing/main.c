/* main: the routing process.
 *
 * Only fills in the table of common/service.h: settings, start, drain, stop. Drain refuses new
 * messages and ends when the accepted ones are answered and the cursors are written, or when
 * [routing] drain is over: what is left then is answered with a retryable reason by
 * routing_destroy, and the senders repeat it elsewhere with the same ids. */
#include "common/log.h"
#include "services/routing/metrics.h"
#include "services/routing/routing.h"

static struct routing_settings settings;
static struct ops_check storage_check = {.name = "storage", .detail = "not yet connected"};

static enum err start(struct service *service, struct buf *problem) {
    struct routing *routing = NULL;
    enum err error = routing_create(service->loop, &settings, &storage_check, &routing);
    if (error != ERR_OK) {
        /* A line that does not fit is cut; the exit status still tells. */
        err_ignore(buf_append_format(problem,
                                     "routing cannot listen at %s: %s; check [routing] "
                                     "bus_listen and the [bus] section",
                                     settings.bus_listen, err_text(error)));
        return error;
    }
    ops_check_add(service->ops, &storage_check);
    service->state = routing;
    log_event(LOG_INFO, "listening", F_TEXT("addr", settings.bus_listen));
    return ERR_OK;
}

static void on_drained(void *user) {
    service_stopped(user);
}

static void drain(struct service *service) {
    routing_drain(service->state, on_drained, service);
}

static void stop(struct service *service) {
    struct routing *routing = service->state;
    routing_destroy(&routing);
    service->state = NULL;
}

int main(int argc, char **argv) {
    struct service_definition definition = {
        .name = "routing",
        .rows = routing_conf_rows,
        .row_count = routing_conf_row_count,
        .settings = &settings,
        .start = start,
        .drain = drain,
        .stop = stop,
        .register_metrics = routing_metrics_register,
    };
    return service_main(&definition, argc, argv);
}
