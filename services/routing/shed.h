/* shed: what is dropped when routing cannot keep up: presence first, then typing, then receipts
 * (I8). Messages are never shed; they are refused by limits of their own. */
#ifndef PIPIT_ROUTING_SHED_H
#define PIPIT_ROUTING_SHED_H

#include "services/routing/state.h"

struct shed;
enum err shed_create(struct routing *routing, struct shed **out) MUST_CHECK;
void shed_destroy(struct shed **shed);
/* True when this kind is to be dropped now; counts it then. */
bool shed_drops(struct routing *routing, enum routing_shed kind);
/* End of the turn: measures how busy the loop is. */
void shed_turn(struct routing *routing);

#endif
