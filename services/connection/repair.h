/* repair: a conversation whose deliveries have a hole, or whose members we know too little of, is
 * caught up from history before anything later is handed out. */
#ifndef PIPIT_CONNECTION_REPAIR_H
#define PIPIT_CONNECTION_REPAIR_H

#include "services/connection/conversations.h"

#define HUB_REPAIRS_RUNNING_MAX 16 /* each holds a page of at most 256 KiB of bodies */

struct hub_repairs;
enum err hub_repairs_create(struct hub *hub) MUST_CHECK;
void hub_repairs_destroy(struct hub *hub);
/* seq exists and was not handed out; live deliveries stop until it is. Idempotent. */
void hub_repair_gap(struct hub *hub, struct hub_conversation *conversation, uint64_t seq,
                    enum hub_gap cause);
/* Members at least as new as version are needed. */
void hub_repair_members(struct hub *hub, struct hub_conversation *conversation, uint64_t version);
/* The conversation has no members here any more. */
void hub_repair_forget(struct hub *hub, struct hub_conversation *conversation);
/* From members.c: the answer to hub_members_refresh. */
void hub_repair_refreshed(struct hub *hub, struct hub_conversation *conversation, enum err status);
/* Tries again what failed. */
void hub_repairs_tick(struct hub *hub);

#endif
