/* stored_message: what both back ends hold a message to: what may be stored, and what is served in
 * place of one that is damaged. */
#ifndef PIPIT_STORAGE_STORED_MESSAGE_H
#define PIPIT_STORAGE_STORED_MESSAGE_H

#include "proto/message.pb-c.h"
#include <stdbool.h>

/* A 16-byte id, a sender, and texts, hash and body within their limits. */
bool stored_message_valid(const Pipit__StoredMessage *message);
/* The lengths that body_hash relies on, of what was read. */
bool stored_message_hashable(const Pipit__StoredMessage *message);
/* Makes the message a recall of itself (kind RECALL, target_seq = seq, body "{}", no sender): the
 * log stays dense and nothing wrong is shown. Keeps conversation, seq and ts_ms; counts and logs.
 */
void stored_message_damaged(Pipit__StoredMessage *message);

#endif
