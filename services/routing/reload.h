/* reload: what a conversation asks of storage about itself: members and head, creation of a direct
 * conversation, and messages that were appended behind its back. */
#ifndef PIPIT_ROUTING_RELOAD_H
#define PIPIT_ROUTING_RELOAD_H

#include "services/routing/conversation.h"
#include "services/routing/submit.h"

/* Each needs busy == BUSY_NONE and sets it until the answer, which runs the conversation again.
 * When storage cannot be asked, what waits in the conversation is refused (conversation_fail). */
void reload_start(struct conversation *conversation);
/* Makes the direct conversation that `pending` (head of the inbox) writes to. */
void reload_create(struct conversation *conversation, const struct pending *pending);
/* A call ended with this status, which says that its storage instance was lost: true when another
 * one may be asked (the conversation only has to be run). Any other status begins to count anew. */
bool reload_again(struct conversation *conversation, enum err status);
/* Fetches and delivers the messages after `published`. */
void reload_tail(struct conversation *conversation);

#endif
