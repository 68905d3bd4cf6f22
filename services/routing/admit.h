/* admit: who may send what. Checks that need no conversation happen at once; the others when the
 * conversation is loaded, in the order in which messages came. */
#ifndef PIPIT_ROUTING_ADMIT_H
#define PIPIT_ROUTING_ADMIT_H

#include "services/routing/conversation.h"
#include "services/routing/submit.h"

#define ADMIT_RETRY_MS 250u /* hint with refusals that come from load: two append round trips */

enum admit_result {
    ADMIT_DONE,  /* resolved: refused, or answered with the seq it has already */
    ADMIT_QUEUE, /* has its ts: append it */
    ADMIT_WAIT   /* something must be looked up or loaded first; it stays at the head */
};

/* Shape, size, id, age, rate and room. Resolves the submit or hands it to its conversation. */
void admit_submit(struct pending *pending);
/* Refuses it whatever it is; what its session sent behind it is refused as well (turns.h). */
void admit_refuse(struct pending *pending, enum reason reason, uint32_t retry_ms);
/* Membership, target and repetition, against loaded members. The pending submit is on no list. */
enum admit_result admit_member(struct conversation *conversation, struct pending *pending);

#endif
