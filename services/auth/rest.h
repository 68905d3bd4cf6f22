/* rest: from an HTTP request to a handler on the right worker pool, and back. */
#ifndef PIPIT_AUTH_REST_H
#define PIPIT_AUTH_REST_H

#include "services/auth/auth.h"

/* http_handler_fn; user is the struct auth. Never blocks. */
void rest_handle(struct http_call *http, void *user);

#endif
