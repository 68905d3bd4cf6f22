/* main: pipit-connection, the service that owns every client socket. */
#include "services/connection/connection_metrics.h"
#include "services/connection/hub_metrics.h"
#include "services/connection/server.h"

#include <sodium.h>

static struct connection_settings settings;

static enum err start(struct service *service, struct buf *problem) {
    if (sodium_init() < 0) {
        enum err said = buf_append_text(problem, "libsodium finds no source of randomness");
        return said == ERR_OK ? ERR_INTERNAL : said;
    }
    struct server *server = NULL;
    enum err error = server_create(service, &settings, problem, &server);
    service->state = server;
    return error;
}

static void drain(struct service *service) {
    server_drain(service->state);
}

static void reload(struct service *service) {
    server_reload(service->state);
}

static void stop(struct service *service) {
    struct server *server = service->state;
    service->state = NULL;
    server_destroy(&server);
}

static void register_metrics(void) {
    connection_metrics_register();
    hub_metrics_register();
}

int main(int argc, char **argv) {
    const struct service_definition definition = {.name = "connection",
                                                  .rows = connection_conf_rows,
                                                  .row_count = connection_conf_row_count,
                                                  .settings = &settings,
                                                  .start = start,
                                                  .drain = drain,
                                                  .reload = reload,
                                                  .stop = stop,
                                                  .register_metrics = register_metrics};
    return service_main(&definition, argc, argv);
}
