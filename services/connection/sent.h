/* sent: which session sent a message id lately, so that a message read back from history is not
 * handed to the session that wrote it. A cache: what it has forgotten comes back to its sender, who
 * knows the id. */
#ifndef PIPIT_CONNECTION_SENT_H
#define PIPIT_CONNECTION_SENT_H

#include "common/id.h"

#define HUB_SENT_SLOTS 8192 /* power of two; 24 bytes each; about a second at full load */

struct hub_sent {
    struct {
        uint8_t id[ID_UUID_BYTES];
        uint64_t session;
    } slots[HUB_SENT_SLOTS];
};
void hub_sent_add(struct hub_sent *sent, const uint8_t id[ID_UUID_BYTES], uint64_t session);
/* 0 = not known. */
uint64_t hub_sent_session(const struct hub_sent *sent, const uint8_t id[ID_UUID_BYTES]);

#endif
