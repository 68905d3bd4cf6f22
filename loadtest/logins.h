/* logins: users who log in over REST, each as soon as it is due and a connection is free. */
#ifndef PIPIT_LOADTEST_LOGINS_H
#define PIPIT_LOADTEST_LOGINS_H

#include "loadtest/engine.h"
#include "loadtest/rest.h"

struct logins {
    struct engine *engine;
    struct rest_link *links;
    uint32_t next, count;                    /* users; modulo the clients */
    void (*on_login)(struct client *client); /* its token is new; may be NULL */
};

/* `count` logins, the k-th due at start + k / rate, or all at once with rate 0. */
void logins_create(struct logins *logins, struct engine *engine, uint32_t count,
                   void (*on_login)(struct client *client));
void logins_destroy(struct logins *logins);
void logins_tick(struct logins *logins, uint64_t now_us, double rate);

#endif
