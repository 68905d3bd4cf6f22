/* chat: the messages that clients exchange, each with a mark that says who sent it, the how many-th
 * it is, and when it should have been sent. */
#ifndef PIPIT_LOADTEST_CHAT_H
#define PIPIT_LOADTEST_CHAT_H

#include "loadtest/engine.h"

/* Appends one message to what the client will write; the caller flushes. False: it has too many
 * unanswered ones. Latency counts from intended_us. */
bool chat_send(struct client *client, uint64_t intended_us);
void chat_on_acked(struct client *client, uint32_t count);
void chat_on_message(struct client *client, uint32_t sender, uint32_t number, uint64_t sent_us);

#endif
