/* logins: a busy server (429, 503) says when to try again, and the link waits that long with its
 * user, as an app would. Anything else but success is counted as refused. */
#include "loadtest/logins.h"

#include "common/clock.h"
#include "common/contract.h"

#include <stdio.h>
#include <stdlib.h>

static void ask(struct rest_link *link) {
    struct logins *logins = link->user;
    const struct client *client = &logins->engine->clients[link->index];
    char body[256];
    (void)snprintf(body, sizeof body, "{\"user\":\"%s\",\"password\":\"%s\"}", client->name,
                   logins->engine->options->password);
    link->retry_at_us = 0;
    rest_ask(link, "POST", "/v1/login", NULL, body);
}

static void succeed(struct logins *logins, struct rest_link *link) {
    struct engine *engine = logins->engine;
    uint64_t now_us = clock_mono_us();
    engine->result->logins++;
    engine_second(engine, now_us)->logins++;
    histogram_record(&engine->result->login, now_us - link->due_us);
    if (logins->on_login != NULL) {
        logins->on_login(&engine->clients[link->index]);
    }
}

static void on_answer(struct rest_link *link, const struct rest_answer *answer) {
    struct logins *logins = link->user;
    struct client *client = &logins->engine->clients[link->index];
    struct result *result = logins->engine->result;
    if (answer->status == 200 &&
        rest_text_member(answer->body, "access_token", client->token, sizeof client->token)) {
        succeed(logins, link);
    } else if (answer->status == 0 || answer->status == 429 || answer->status == 503) {
        result->retried++;
        link->retry_at_us =
            clock_mono_us() + (answer->retry_after_s > 0 ? answer->retry_after_s : 1) * 1000000u;
    } else if (result->refused++ < 3) {
        (void)fprintf(stderr, "login of %s: %d %s\n", client->name, answer->status, answer->body);
    }
}

void logins_create(struct logins *logins, struct engine *engine, uint32_t count,
                   void (*on_login)(struct client *client)) {
    *logins = (struct logins){.engine = engine, .count = count, .on_login = on_login};
    logins->links = calloc(engine->options->links, sizeof *logins->links);
    CONTRACT(logins->links != NULL);
    for (uint32_t i = 0; i < engine->options->links; i++) {
        rest_create(&logins->links[i], engine->loop, engine->options->rest_port, on_answer);
        logins->links[i].user = logins;
    }
}

void logins_destroy(struct logins *logins) {
    for (uint32_t i = 0; i < logins->engine->options->links; i++) {
        rest_destroy(&logins->links[i]);
    }
    free(logins->links);
}

void logins_tick(struct logins *logins, uint64_t now_us, double rate) {
    struct engine *engine = logins->engine;
    for (uint32_t i = 0; i < engine->options->links; i++) {
        struct rest_link *link = &logins->links[i];
        if (link->busy) {
            continue;
        }
        if (link->retry_at_us != 0) {
            if (now_us >= link->retry_at_us) {
                ask(link);
            }
            continue;
        }
        uint64_t due_us =
            engine->start_us + (rate > 0 ? (uint64_t)((double)logins->next * 1e6 / rate) : 0);
        if (logins->next < logins->count && due_us <= now_us) {
            link->due_us = due_us;
            link->index = logins->next++ % engine->options->clients;
            ask(link);
        }
    }
}
