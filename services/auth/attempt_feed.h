/* attempt_feed: auth instances tell each other which attempts failed, so that any number of them
 * allows together what one would. What is told and how it is counted: rate_limits.h. */
#ifndef PIPIT_AUTH_ATTEMPT_FEED_H
#define PIPIT_AUTH_ATTEMPT_FEED_H

#include "services/auth/instance_streams.h"
#include "services/auth/rate_limits.h"

/* Apart from the revocations: connection does not listen to it, and a count that is lost makes
 * nobody fetch a snapshot. */
#define ATTEMPT_FEED_TOPIC 1u

struct attempt_feed;
/* publisher and limits must outlive the feed. Opens the topic. Loop's thread, as are the others
 * unless said. ERR_NO_MEMORY, ERR_FULL. */
enum err attempt_feed_create(struct loop *loop, struct stream_publisher *publisher,
                             struct rate_limits *limits, struct attempt_feed **out) MUST_CHECK;
/* No thread may wake it any more. */
void attempt_feed_destroy(struct attempt_feed **feed);
/* What it has to hear of all instances; for instance_streams_create. Our own messages come back
 * that way and are left out. */
struct instance_topic attempt_feed_topic(struct attempt_feed *feed);
/* After rate_limits_failed: what is untold is published within ATTEMPT_FEED_DELAY_US. Any thread.
 */
#define ATTEMPT_FEED_DELAY_US 20000u
void attempt_feed_wake(struct attempt_feed *feed);

#endif
