/* members: membership changes: from storage's streams into the cache and on to the endpoints. */
#ifndef PIPIT_ROUTING_MEMBERS_H
#define PIPIT_ROUTING_MEMBERS_H

#include "proto/message.pb-c.h"
#include "services/routing/state.h"

struct members;
enum err members_create(struct routing *routing, struct members **out) MUST_CHECK;
void members_destroy(struct members **members);
/* A storage instance appeared or went; from rpc's callbacks. ERR_INVALID: no such address. */
enum err members_follow(struct routing *routing, struct rpc_peer *peer) MUST_CHECK;
void members_unfollow(struct routing *routing, struct rpc_peer *peer);
/* The connection to it was lost: what it committed last it may not have published. */
void members_lost(struct routing *routing, const struct rpc_peer *peer);
/* Once a second: which streams are live. */
void members_tick(struct routing *routing);
/* True while every known storage instance's stream is heard: cached members are then at most a
 * message's travel time old. */
bool members_live(const struct routing *routing);
/* Passes a change on to the endpoints that care about the conversation or have sessions of a user
 * that it names. */
void members_publish(struct routing *routing, const Pipit__MembersChanged *change);
/* Drops what is cached of members and tells every endpoint to do the same. */
void members_uncertain(struct routing *routing);

#endif
