/* ingress: hop 2: what clients send goes to the owner's routing instance in batches, and the
 * results come back. Signals and cursors travel in the same batches. */
#ifndef PIPIT_CONNECTION_INGRESS_H
#define PIPIT_CONNECTION_INGRESS_H

#include "proto/submit.pb-c.h"
#include "services/connection/hub_private.h"

#define HUB_SUBMITS_MAX 65536      /* not yet answered, of all sessions of the hub */
#define HUB_FLIGHTS_PER_PEER_MAX 8 /* batches in flight to one instance */
#define HUB_BATCH_SUBMITS_MAX 1024 /* collected while all flights are out */
#define HUB_BATCH_SIGNALS_MAX 512
#define HUB_BATCH_MARKS_MAX 1024
#define HUB_BATCH_BYTES_MAX (1u << 20) /* of all strings and bodies of one batch */
/* A submit whose instance was lost is sent again within this time of its arrival, not later: the
 * client has its own time-out. */
#define HUB_AGAIN_US 4000000u

struct hub_mark; /* marks.h */
struct hub_ingress;
enum err hub_ingress_create(struct hub *hub) MUST_CHECK;
void hub_ingress_destroy(struct hub *hub);
enum err hub_ingress_peer_create(struct hub_peer *peer) MUST_CHECK;
/* The instance is gone: what was collected for it goes to another one. All its calls have ended. */
void hub_ingress_peer_destroy(struct hub_peer *peer);
/* It drains, and nothing of ours is left with it or goes to it. */
bool hub_ingress_released(const struct hub_peer *peer);

/* See session_submit; limits of the session and the user are checked by the caller. */
enum err hub_ingress_submit(struct hub *hub, struct session *session,
                            const struct session_submit *submit) MUST_CHECK;
/* Copies what it needs. false: shed (no instance, or the batch is half full of more important
 * things). */
bool hub_ingress_signal(struct hub *hub, const Pipit__Signal *signal);
/* Borrows the mark until hub_marks_returned. ERR_UNAVAILABLE: not now. */
enum err hub_ingress_mark(struct hub *hub, struct hub_mark *mark) MUST_CHECK;
/* Sends the batches that are due; called at the end of each turn. */
void hub_ingress_flush(struct hub *hub);
/* From hub_soon: results of batches that could not be sent. */
void hub_ingress_soon(struct hub *hub);
/* A quarter of a second passed. */
void hub_ingress_tick(struct hub *hub);
/* Batches collected or in flight. */
bool hub_ingress_idle(const struct hub *hub);
/* The session that sent this id lately, or 0. */
uint64_t hub_ingress_sender(const struct hub *hub, const uint8_t *id, size_t id_bytes);

#endif
