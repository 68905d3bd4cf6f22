/* pipit-auth: accounts, tokens and the REST API. Everything of substance is in auth.c. */
#include "services/auth/auth.h"
#include "services/auth/metrics.h"
#include "services/auth/route.h"
#include <stdio.h>
#include <string.h>

#define DESCRIBE_BYTES_MAX (64u * 1024u)

/* The route table for tests and documentation: "METHOD path access" a line. */
static int describe_routes(void) {
    struct buf out;
    buf_init(&out, DESCRIBE_BYTES_MAX);
    bool written = route_describe(&out) == ERR_OK &&
                   fwrite(buf_data(&out), 1, buf_len(&out), stdout) == buf_len(&out) &&
                   fflush(stdout) == 0;
    buf_finish(&out);
    return written ? 0 : 1;
}

int main(int argc, char **argv) {
    static struct auth_settings settings;
    const struct service_definition definition = {.name = "auth",
                                                  .rows = auth_conf_rows,
                                                  .row_count = auth_conf_row_count,
                                                  .settings = &settings,
                                                  .start = auth_start,
                                                  .drain = auth_drain,
                                                  .stop = auth_stop,
                                                  .register_metrics = auth_metrics_register};
    if (argc == 2 && strcmp(argv[1], "--describe-routes") == 0) {
        return describe_routes();
    }
    return service_main(&definition, argc, argv);
}
