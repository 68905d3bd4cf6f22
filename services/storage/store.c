/* store: choosing the back end by the scheme of its URL. Everything else is the back end's; a
 * further one is added by one branch here. */
#include "services/storage/store.h"

#include "common/contract.h"
#include "common/redact.h"
#include "services/storage/mongo_uri.h"
#include "services/storage/store_mongo.h"
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
    if (mongo_uri_is(config->url)) {
        return store_mongo_open(config->url, config, out, problem);
    }
    err_ignore(buf_append_text(problem, "store \"")); /* a cut line is better than none */
    err_ignore(redact_url(config->url, problem));
    err_ignore(buf_append_text(problem,
                               "\": unknown kind; write sqlite:DIRECTORY, mongodb://... or "
                               "mongodb+srv://..."));
    return ERR_UNSUPPORTED;
}

enum err store_health(struct store *store) {
    return store->ops->health != NULL ? store->ops->health(store) : ERR_OK;
}

void store_close(struct store **store) {
    if (*store != NULL) {
        (*store)->ops->close(*store);
        *store = NULL;
    }
}
