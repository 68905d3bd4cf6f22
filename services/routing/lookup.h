/* lookup: what admission must ask storage about one message: the target it points at, or whether an
 * MQTT publication was stored before. */
#ifndef PIPIT_ROUTING_LOOKUP_H
#define PIPIT_ROUTING_LOOKUP_H

#include "services/routing/conversation.h"
#include "services/routing/submit.h"

/* Both ask about the message that is about to be the head of the inbox, set the conversation busy
 * and run it again with the answer: target_checked or origin_checked is set then, or the message is
 * resolved. An error means that nothing was asked. */
enum err lookup_target(struct conversation *conversation, const struct pending *pending) MUST_CHECK;
enum err lookup_origin(struct conversation *conversation, const struct pending *pending) MUST_CHECK;

#endif
