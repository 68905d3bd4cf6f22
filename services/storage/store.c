/* store: choosing the back end by the scheme of its URL. Everything else is the back end's; a
 * second one is added by one row here. */
#include "services/storage/store.h"

#include "common/contract.h"
#include "services/storage/store_sqlite.h"
#include <string.h>

#define SQLITE_SCHEME "sqlite:"

enum err store_open(const struct store_config *config, struct store **out, struct buf *problem) {
    CONTRACT(config->readers >= 1 && config->readers <= 64 && config->members_max >= 2);
    size_t scheme_bytes = sizeof(SQLITE_SCHEME) - 1;
    if (strncmp(config->url, SQLITE_SCHEME, scheme_bytes) == 0 &&
        config->url[scheme_bytes] != '\0') {
        return store_sqlite_open(config->url + scheme_bytes, config, out, problem);
    }
    err_ignore(buf_append_format(problem, "store \"%s\": unknown kind; write sqlite:DIRECTORY",
                                 config->url)); /* a cut line is better than none */
    return ERR_UNSUPPORTED;
}

void store_close(struct store **store) {
    if (*store != NULL) {
        (*store)->ops->close(*store);
        *store = NULL;
    }
}
