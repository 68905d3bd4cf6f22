/* text_limit: the setting text_bytes_max, for both protocols. */
#ifndef PIPIT_CONNECTION_TEXT_LIMIT_H
#define PIPIT_CONNECTION_TEXT_LIMIT_H

#include "proto/reason.h"
#include "proto/slice.h"
#include <stdint.h>

/* body: a JSON object that the decoder of the frame or payload has checked. REASON_OK, or
 * REASON_TOO_LARGE when its text is longer than text_bytes_max; costs nothing at the default. */
enum reason text_limit_check(struct slice body, uint64_t text_bytes_max) MUST_CHECK;

#endif
