/* marks: delivered and read cursors on their way to routing, one entry per (user, device,
 * conversation) however many acknowledgements came. */
#ifndef PIPIT_CONNECTION_MARKS_H
#define PIPIT_CONNECTION_MARKS_H

#include "services/connection/conversations.h"

#define HUB_MARKS_MAX 65536 /* cursors on their way */
#define HUB_MARKS_INTERVAL_US                                                                      \
    200000u /* cursors of one conversation are sent this often at most                             \
             */

struct hub_mark {
    struct map_node map_node;
    struct list_node node; /* waiting; in a batch or flight of ingress.c */
    uint64_t session;      /* that moved it last */
    uint64_t delivered_seq, read_seq;
    bool is_changed; /* since it was sent */
    char user[LIMIT_USER_ID_BYTES + 1];
    char device[TOKEN_DEVICE_BYTES + 32];
    char conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
};
struct hub_marks;
enum err hub_marks_create(struct hub *hub) MUST_CHECK;
void hub_marks_destroy(struct hub *hub);
/* Raises the cursors; 0 = unchanged. ERR_FULL: shed, and counted. */
enum err hub_marks_add(struct hub *hub, const struct session *session,
                       const struct hub_conversation *conversation, uint64_t delivered_seq,
                       uint64_t read_seq) MUST_CHECK;
/* Everything that waits goes into the batches now. */
void hub_marks_flush(struct hub *hub);
/* From ingress.c: the marks of a batch were taken by routing, or not: then they go again. */
void hub_marks_returned(struct hub *hub, struct list *marks, bool taken);
/* None is on its way. */
bool hub_marks_idle(const struct hub *hub);

#endif
