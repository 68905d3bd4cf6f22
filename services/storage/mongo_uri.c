/* mongo_uri: options of the connection string.
 *
 * Forced: no retries inside libmongoc (a repeated append must be ours, with the same ids, and each
 * retry would double the time a writer hangs), reads from the primary alone, a pool of exactly the
 * sessions that exist. Unless named: short time-outs, because one writer thread waits for them; a
 * write that takes longer has an unknown outcome and is repeated.
 *
 * mongo_uri_show cuts at the LAST '@' of what comes before the options, so a password with an
 * unescaped '/' or '@' stays hidden, too; options may hold a key file's password and are left out.
 */
#include "services/storage/mongo_uri.h"

#include "common/redact.h"
#include <string.h>

#define SCHEME "mongodb://"
#define SCHEME_SRV "mongodb+srv://"

/* Milliseconds. Source: reference/dependencies.md 4.4: a stalled server fails an operation after
 * socketTimeoutMS; heartbeats must be shorter than a client's patience after a failover. Only
 * callers beyond clients_max wait for a client, each for the calls of others. */
static const struct {
    const char *name;
    int32_t value;
} DEFAULTS[] = {
    {MONGOC_URI_CONNECTTIMEOUTMS, 2000},     {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, 1000},
    {MONGOC_URI_SOCKETTIMEOUTMS, 5000},      {MONGOC_URI_WAITQUEUETIMEOUTMS, 10000},
    {MONGOC_URI_HEARTBEATFREQUENCYMS, 2000},
};

static size_t scheme_bytes(const char *text) {
    static const char *const schemes[] = {SCHEME, SCHEME_SRV};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t bytes = strlen(schemes[i]);
        if (strncmp(text, schemes[i], bytes) == 0) {
            return bytes;
        }
    }
    return 0;
}

bool mongo_uri_is(const char *text) {
    return scheme_bytes(text) != 0;
}

static bool set_defaults(mongoc_uri_t *uri, uint32_t clients_max) {
    bool done = true;
    for (size_t i = 0; i < sizeof(DEFAULTS) / sizeof(DEFAULTS[0]); i++) {
        if (!mongoc_uri_has_option(uri, DEFAULTS[i].name)) {
            done = done && mongoc_uri_set_option_as_int32(uri, DEFAULTS[i].name, DEFAULTS[i].value);
        }
    }
    done = done &&
           mongoc_uri_set_option_as_int32(uri, MONGOC_URI_MAXPOOLSIZE, (int32_t)clients_max) &&
           mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, false) &&
           mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYREADS, false);
    mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
    mongoc_uri_set_read_prefs_t(uri, primary);
    mongoc_read_prefs_destroy(primary);
    mongoc_read_concern_t *none = mongoc_read_concern_new();
    mongoc_uri_set_read_concern(uri, none); /* set on each read when the server has it */
    mongoc_read_concern_destroy(none);
    return done;
}

/* User and password: what stands before the last '@'; 0 bytes = none. */
static size_t credential_bytes(const char *place) {
    const char *end = strrchr(place, '@');
    return end != NULL ? (size_t)(end - place) : 0;
}

/* libmongoc's message may quote what it could not parse: not where that may be a password. */
static const char *explain(const char *text, const bson_error_t *error) {
    const char *place = text + scheme_bytes(text);
    size_t bytes = credential_bytes(place);
    size_t user_bytes = strcspn(place, ":");
    if (bytes == 0) {
        return error->message;
    }
    if (strcspn(place, "@/?#[]") < bytes ||
        (user_bytes < bytes && strcspn(place + user_bytes + 1, ":") < bytes - user_bytes - 1)) {
        return "percent-encode the special characters of user and password";
    }
    if (user_bytes + 1 < bytes) {
        char password[256] = "";
        size_t password_bytes = bytes - user_bytes - 1;
        if (password_bytes >= sizeof(password)) {
            return "check its options";
        }
        memcpy(password, place + user_bytes + 1, password_bytes);
        bool quoted = strstr(error->message, password) != NULL;
        explicit_bzero(password, sizeof(password));
        return quoted ? "check its options" : error->message;
    }
    return error->message;
}

enum err mongo_uri_parse(const char *text, uint32_t clients_max, mongoc_uri_t **out,
                         struct buf *problem) {
    bson_error_t error = {.message = "an option was refused"};
    mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &error);
    if (uri != NULL && set_defaults(uri, clients_max)) {
        *out = uri;
        return ERR_OK;
    }
    err_ignore(buf_append_text(problem, "store ")); /* a cut line is better than none */
    err_ignore(redact_url(text, problem));
    err_ignore(buf_append_format(problem, " is not a valid MongoDB connection string: %s",
                                 explain(text, &error)));
    if (uri != NULL) {
        mongoc_uri_destroy(uri);
    }
    return ERR_INVALID;
}

const char *mongo_uri_database(const mongoc_uri_t *uri) {
    const char *name = mongoc_uri_get_database(uri);
    return name != NULL && name[0] != '\0' ? name : MONGO_DATABASE_DEFAULT;
}
