/* rest: keep-alive HTTP/1.1 connections to the REST door, one request at a time on each. */
#ifndef PIPIT_LOADTEST_REST_H
#define PIPIT_LOADTEST_REST_H

#include "common/buf.h"
#include "common/loop.h"

struct rest_link;
struct rest_answer {
    int status; /* 0: the connection failed, the outcome is unknown */
    uint32_t retry_after_s;
    const char *body; /* ends with 0; for the length of the call */
};
typedef void (*rest_fn)(struct rest_link *link, const struct rest_answer *answer);

struct rest_link {
    struct loop_fd watch;
    struct loop *loop;
    uint16_t port; /* at 127.0.0.1 */
    struct buf in, out;
    rest_fn on_answer; /* may ask the next */
    bool connected, busy;
    /* the caller's */
    void *user;
    uint32_t index;
    uint64_t due_us, retry_at_us;
};

void rest_create(struct rest_link *link, struct loop *loop, uint16_t port, rest_fn on_answer);
void rest_destroy(struct rest_link *link);
/* Connects when needed. `token` may be NULL. The link is not busy. */
void rest_ask(struct rest_link *link, const char *method, const char *path, const char *token,
              const char *body);
/* The text of a member of a JSON object, up to its next quote; false: there is none that fits. */
bool rest_text_member(const char *body, const char *name, char *out, size_t bytes);

#endif
