/* revocation_feed: keeps the revocations in memory true, here and in every other process. Ours are
 * published on this instance's stream; other auth instances' streams are read; and whenever one of
 * them may have lost something, storage is asked for all of them. */
#ifndef PIPIT_AUTH_REVOCATION_FEED_H
#define PIPIT_AUTH_REVOCATION_FEED_H

#include "common/rpc.h"
#include "proto/accounts.pb-c.h"
#include "services/auth/instance_streams.h"
#include "services/auth/revocations.h"

struct revocation_feed_config {
    struct loop *loop;
    struct rpc *storage;
    struct revocations *revocations;
    struct stream_publisher *publisher;  /* topic 0 of it; must outlive the feed */
    void (*on_loaded)(void *user);       /* the first snapshot has arrived */
    void (*on_keys_changed)(void *user); /* another instance made or retired a key */
    void *user;
};
struct revocation_feed;
/* Loop's thread, as are destroy and revocation_feed_ask; calls back there. ERR_NO_MEMORY. */
enum err revocation_feed_create(const struct revocation_feed_config *config,
                                struct revocation_feed **out) MUST_CHECK;
/* What it has to hear of all instances; for instance_streams_create. */
struct instance_topic revocation_feed_topic(struct revocation_feed *feed);
/* The loop must have run every announcement; nobody calls the topic any more. */
void revocation_feed_destroy(struct revocation_feed **feed);
/* True once storage's snapshot is here: before, a dead token could pass. Any thread. */
bool revocation_feed_loaded(const struct revocation_feed *feed);

/* Announcing in two steps, so that nothing can fail once storage has the revocation. Any thread. */
struct revocation_announcement;
/* NULL: no memory; nothing was revoked yet, refuse. */
struct revocation_announcement *revocation_announcement_make(struct revocation_feed *feed);
/* Adds it to the set at once and publishes it on the loop. Takes the announcement. */
void revocation_announce(struct revocation_announcement **announcement,
                         const struct revocation *revocation);
/* Tells the others that the key set changed. Takes the announcement. */
void revocation_announce_keys(struct revocation_announcement **announcement);
/* Nothing was revoked after all. */
void revocation_announcement_drop(struct revocation_announcement **announcement);

/* Asks storage for all revocations, merges them, then calls done once, perhaps at once: reply is
 * borrowed for the call, NULL with an error. */
typedef void (*revocation_feed_fn)(enum err error, const Pipit__RevocationsReply *reply,
                                   void *user);
void revocation_feed_ask(struct revocation_feed *feed, revocation_feed_fn done, void *user);

#endif
