/* stream: numbered publications that notice loss. A publisher numbers each topic's messages
 * (boot_id, topic, stream_seq) and sends a heartbeat with the last number twice a second; a
 * subscriber reports a gap, a new boot id or silence once, keeps delivering what arrives, and its
 * owner repairs by asking (REQ). One module serves deliveries, membership changes and revocations.
 *
 * Frame, big-endian: topic u64 | boot_id u64 | stream_seq u64 | payload. A heartbeat has no payload
 * and carries the topic's last stream_seq. Topic 0 is for everybody. Several frames of one turn
 * travel together: STREAM_TOPIC_BUNDLE u64, then for each its bytes u32 | frame. */
#ifndef PIPIT_COMMON_STREAM_H
#define PIPIT_COMMON_STREAM_H

#include "common/bus.h"

#define STREAM_TOPIC_ALL 0u
#define STREAM_TOPIC_BUNDLE UINT64_MAX /* nobody's */
#define STREAM_HEARTBEAT_US 500000u
/* Three missed heartbeats: a frozen instance is noticed in time for the service to be back within 3
 * s (invariant I7); a loop that is busy for longer is as good as frozen. */
#define STREAM_SILENCE_US 1500000u

struct stream_publisher;
/* topics_max bounds the topics known at once, beside topic 0. Listens on url. boot_id is random per
 * creation, never 0. Errors as bus_publisher_create. */
enum err stream_publisher_create(struct loop *loop, struct bus *bus, const char *url,
                                 size_t topics_max, struct stream_publisher **out) MUST_CHECK;
void stream_publisher_destroy(struct stream_publisher **publisher);
uint64_t stream_publisher_boot_id(const struct stream_publisher *publisher);
/* Begins heartbeats for a topic (idempotent); ERR_FULL, ERR_NO_MEMORY. Topic 0 is always open. A
 * topic that is closed and opened again goes on counting, so its subscribers notice what they
 * missed and nothing else. */
enum err stream_topic_open(struct stream_publisher *publisher, uint64_t topic) MUST_CHECK;
void stream_topic_close(struct stream_publisher *publisher, uint64_t topic);
/* Numbers and publishes; opens the topic if it is not. ERR_INVALID: an empty payload (that is a
 * heartbeat); ERR_FULL, ERR_NO_MEMORY: the topic could not be opened. ERR_TOO_LARGE, ERR_NO_MEMORY
 * from the bus: the number is used up, so subscribers notice. */
enum err stream_publish(struct stream_publisher *publisher, uint64_t topic, const void *payload,
                        size_t bytes) MUST_CHECK;
/* Sends what was published in this turn; happens by itself at the turn's end, without anybody to
 * tell of an error. Topic 0 never waits. ERR_NO_MEMORY: all of it is lost, and subscribers notice.
 */
enum err stream_flush(struct stream_publisher *publisher) MUST_CHECK;

enum stream_trouble { STREAM_GAP, STREAM_NEW_BOOT, STREAM_SILENT };
struct stream_subscriber;
typedef void (*stream_message_fn)(const uint8_t *payload, size_t bytes, void *user);
/* Called before the first message after the trouble, or as soon as a heartbeat shows it. The first
 * contact with a publisher counts as STREAM_NEW_BOOT too: whatever came before it is unknown.
 * STREAM_SILENT is reported once per silence (also when nobody was ever heard; boot_id is 0 then)
 * and the connection is dialled afresh while it lasts; what was lost meanwhile is a gap of its own
 * afterwards. A subscriber that was frozen itself gives the publisher the whole time again. Both
 * callbacks may destroy the subscriber. */
typedef void (*stream_trouble_fn)(enum stream_trouble trouble, uint64_t boot_id, void *user);
/* Subscribes to topic (and to nothing else; 0 = the broadcast topic). */
enum err stream_subscriber_create(struct loop *loop, struct bus *bus, const char *url,
                                  uint64_t topic, stream_message_fn on_message,
                                  stream_trouble_fn on_trouble, void *user,
                                  struct stream_subscriber **out) MUST_CHECK;
void stream_subscriber_destroy(struct stream_subscriber **subscriber);
/* Heard within the last STREAM_SILENCE_US. */
bool stream_subscriber_live(const struct stream_subscriber *subscriber);
/* loop_now_us of the last frame; of the creation before the first. */
uint64_t stream_subscriber_heard_us(const struct stream_subscriber *subscriber);

#endif
