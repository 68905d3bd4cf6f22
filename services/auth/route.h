/* route: which operation a method and a path mean. One table (routes.c) decides; the OpenAPI
 * description is tested against it. */
#ifndef PIPIT_AUTH_ROUTE_H
#define PIPIT_AUTH_ROUTE_H

#include "common/buf.h"
#include "common/err.h"
#include "proto/limits.h"
#include <stddef.h>

struct call;

enum route_access {
    ROUTE_PUBLIC,
    ROUTE_USER, /* a valid access token */
    ROUTE_ADMIN /* and the scope admin, and still an administrator */
};
enum route_pool {
    ROUTE_INLINE, /* never blocks: answered on the HTTP server's thread */
    ROUTE_API,    /* asks storage */
    ROUTE_HASH    /* computes password hashes, too */
};
enum route_body {
    ROUTE_NO_BODY,
    ROUTE_JSON, /* call->body */
    ROUTE_RAW   /* JSON that the handler reads itself, byte for byte */
};

#define ROUTE_PARAMS_MAX 3
#define ROUTE_PARAM_BYTES 256
struct route {
    const char *method;
    const char *path; /* "/v1/users/{user}" */
    enum route_access access;
    enum route_pool pool;
    enum route_body body;
    const char *const *query; /* allowed query parameters, NULL ends */
    void (*run)(struct call *call);
};
extern const struct route routes[];
extern const size_t route_count;

struct route_match {
    size_t index;                                     /* in routes */
    char params[ROUTE_PARAMS_MAX][ROUTE_PARAM_BYTES]; /* what stood for {..}, in order */
};
#define ROUTE_ALLOW_BYTES 64
/* ERR_OK; ERR_NOT_FOUND: no such path; ERR_UNSUPPORTED: the path exists, not the method: `allow`
 * lists those that do ("GET, PATCH"). path is decoded. Segments that are empty or longer than
 * ROUTE_PARAM_BYTES match nothing. */
enum err route_find(const char *method, const char *path, struct route_match *match,
                    char allow[ROUTE_ALLOW_BYTES]) MUST_CHECK;
/* Appends "METHOD path access\n" of each route. */
enum err route_describe(struct buf *out) MUST_CHECK;

#endif
