/* routes: the table. An operation is here or it does not exist; docs/reference/openapi.yaml
 * describes the same ones, and tests/integration/test_openapi.py compares the two. */
#include "services/auth/handlers.h"
#include "services/auth/route.h"

#define ME "/v1/me"
#define CONVERSATION "/v1/conversations/{conversation}"
#define MESSAGES CONVERSATION "/messages"
#define REACTION MESSAGES "/{message}/reactions"

static const char *const users_query[] = {"query", "after", "limit", NULL};
static const char *const list_query[] = {"since", "after", "limit", NULL};
static const char *const history_query[] = {"before", "after", "limit", NULL};
static const char *const audit_query[] = {"before", "limit", NULL};

#define GET(path, access, query, run)                                                              \
    {"GET", (path), ROUTE_##access, ROUTE_API, ROUTE_NO_BODY, (query), (run)}
#define WRITE(method, path, access, pool, run)                                                     \
    {(method), (path), ROUTE_##access, ROUTE_##pool, ROUTE_JSON, NULL, (run)}

const struct route routes[] = {
    {"GET", "/.well-known/pipit", ROUTE_PUBLIC, ROUTE_INLINE, ROUTE_NO_BODY, NULL, wellknown_pipit},
    {"GET", "/.well-known/jwks.json", ROUTE_PUBLIC, ROUTE_INLINE, ROUTE_NO_BODY, NULL,
     wellknown_jwks},
    {"GET", "/v1/openapi.yaml", ROUTE_PUBLIC, ROUTE_INLINE, ROUTE_NO_BODY, NULL, openapi_yaml},
    {"GET", "/v1/openapi.json", ROUTE_PUBLIC, ROUTE_INLINE, ROUTE_NO_BODY, NULL, openapi_json},

    WRITE("POST", "/v1/register", PUBLIC, HASH, register_post),
    WRITE("POST", "/v1/login", PUBLIC, HASH, login_post),
    WRITE("POST", "/v1/token", PUBLIC, API, token_post),
    WRITE("POST", "/v1/logout", USER, API, logout_post),

    GET(ME, USER, NULL, me_get),
    WRITE("PATCH", ME, USER, API, me_patch),
    WRITE("PUT", ME "/password", USER, HASH, password_put),
    GET(ME "/devices", USER, NULL, devices_get_all),
    WRITE("DELETE", ME "/devices/{device}", USER, API, devices_delete),
    GET(ME "/blocks", USER, NULL, blocks_get_all),
    WRITE("PUT", ME "/blocks/{user}", USER, API, blocks_put),
    WRITE("DELETE", ME "/blocks/{user}", USER, API, blocks_delete),
    GET(ME "/conversations", USER, list_query, conversations_get_all),

    GET("/v1/users", USER, users_query, users_get_all),
    GET("/v1/users/{user}", USER, NULL, users_get),
    WRITE("POST", "/v1/invites", USER, API, invites_post),

    WRITE("POST", "/v1/conversations", USER, API, conversations_post),
    GET(CONVERSATION, USER, NULL, conversations_get),
    WRITE("PATCH", CONVERSATION, USER, API, conversations_patch),
    WRITE("DELETE", CONVERSATION, USER, API, conversations_delete),
    GET(CONVERSATION "/members", USER, NULL, members_get_all),
    WRITE("PUT", CONVERSATION "/members/{user}", USER, API, members_put),
    WRITE("DELETE", CONVERSATION "/members/{user}", USER, API, members_delete),
    WRITE("PUT", CONVERSATION "/mute", USER, API, mute_put),
    WRITE("PUT", CONVERSATION "/read", USER, API, read_put),

    GET(MESSAGES, USER, history_query, messages_get_all),
    {"PUT", MESSAGES "/{message}", ROUTE_USER, ROUTE_API, ROUTE_RAW, NULL, messages_put},
    {"PATCH", MESSAGES "/{message}", ROUTE_USER, ROUTE_API, ROUTE_RAW, NULL, messages_patch},
    WRITE("DELETE", MESSAGES "/{message}", USER, API, messages_delete),
    WRITE("PUT", REACTION "/{emoji}", USER, API, reactions_put),
    WRITE("DELETE", REACTION "/{emoji}", USER, API, reactions_delete),

    GET("/v1/admin/users", ADMIN, users_query, admin_users_get_all),
    GET("/v1/admin/users/{user}", ADMIN, NULL, admin_users_get),
    WRITE("PATCH", "/v1/admin/users/{user}", ADMIN, API, admin_users_patch),
    WRITE("POST", "/v1/admin/users/{user}/password", ADMIN, HASH, admin_users_password_post),
    GET("/v1/admin/invites", ADMIN, NULL, admin_invites_get_all),
    WRITE("POST", "/v1/admin/invites", ADMIN, API, admin_invites_post),
    WRITE("DELETE", "/v1/admin/invites/{invite}", ADMIN, API, admin_invites_delete),
    GET("/v1/admin/stats", ADMIN, NULL, admin_stats_get),
    GET("/v1/admin/audit", ADMIN, audit_query, admin_audit_get),
};
const size_t route_count = sizeof routes / sizeof routes[0];
