/* main: the storage process. */
#include "common/log.h"
#include "common/redact.h"
#include "services/storage/metrics.h"
#include "services/storage/migrate.h"
#include "services/storage/storage.h"

static struct storage_settings settings;
static struct ops_check store_check = {.name = "store", .detail = "opening"};

static enum err start(struct service *service, struct buf *problem) {
    struct storage *storage = NULL;
    ops_check_add(service->ops, &store_check);
    enum err error = storage_create(service->loop, &settings, &store_check, &storage, problem);
    if (error != ERR_OK) {
        return error;
    }
    service->state = storage;
    struct buf store;
    buf_init(&store, 1024);
    err_ignore(redact_url(settings.store, &store)); /* a cut text is better than none */
    log_event(LOG_INFO, "listening", F_TEXT("addr", settings.bus_listen),
              F_BYTES("store", (const char *)buf_data(&store), buf_len(&store)));
    buf_finish(&store);
    return ERR_OK;
}

static void on_drained(void *user) {
    service_stopped(user);
}

static void drain(struct service *service) {
    storage_drain(service->state, on_drained, service);
}

static void stop(struct service *service) {
    struct storage *storage = service->state;
    storage_destroy(&storage);
    service->state = NULL;
}

int main(int argc, char **argv) {
    struct service_definition definition = {
        .name = "storage",
        .rows = storage_conf_rows,
        .row_count = storage_conf_row_count,
        .settings = &settings,
        .start = start,
        .drain = drain,
        .stop = stop,
        .register_metrics = storage_metrics_register,
        .command = &migrate_command,
    };
    return service_main(&definition, argc, argv);
}
