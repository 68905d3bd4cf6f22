/* append: hops 3 and 4: gives messages their seq and has storage make them durable. */
#ifndef PIPIT_ROUTING_APPEND_H
#define PIPIT_ROUTING_APPEND_H

#include "proto/message.pb-c.h"
#include "services/routing/conversation.h"
#include "services/routing/submit.h"

struct append;
enum err append_create(struct routing *routing, struct append **out) MUST_CHECK;
void append_destroy(struct append **append); /* no flight is out */
/* The conversation's queue may be sent; idempotent, call it again when the queue grew. */
void append_ready(struct conversation *conversation);
/* Takes it back: the conversation must do something else first. */
void append_unready(struct conversation *conversation);
/* End of the turn: sends what is due. */
void append_flush(struct routing *routing);
/* The message as storage and members see it, without conversation and seq; texts are borrowed. */
void append_fill_message(const struct pending *pending, Pipit__StoredMessage *message);

#endif
