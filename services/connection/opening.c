/* opening: what must be true before a session may be called live.
 *
 * First routing has to know the session, so that from then on changes of the user's memberships
 * reach us; then the memberships are loaded; then routing has to know our interest in conversations
 * that are new here, so that from then on their messages reach us. Each step is the acknowledgement
 * of an interest update by all routing instances that are up. In that order nothing can slip
 * between loading and listening. A second session of a user whose memberships are here already
 * needs none of it, and one that only lacks its device's cursors needs the load alone.
 *
 * An instance that hangs is waited for HUB_ATTACH_US at most. What it published meanwhile or will
 * not have published is found when heads are compared, after the acknowledgement or the same wait
 * (sync.c); so one sick instance makes logins slow by a second, not wrong. */
#include "services/connection/opening.h"

#include "services/connection/interest.h"
#include "services/connection/loads.h"

enum opening_step { STEP_REGISTERED, STEP_LOADING, STEP_LOADED };

static void wait_for_interest(struct hub *hub, struct session *session, enum opening_step step) {
    session->step = (uint8_t)step;
    session->wait_version = hub_interest_version(hub);
    session->wait_since_us = hub_now_us(hub);
    list_push_back(&hub->opening_waits, &session->wait_node);
    hub_soon(hub);
}

static void load(struct hub *hub, struct session *session) {
    session->step = STEP_LOADING;
    enum err error = hub_load_session(hub, session);
    if (error != ERR_OK) {
        session_opened(session, reason_from_err(error));
    }
}

void hub_opening_start(struct hub *hub, struct session *session) {
    session->begun_us = hub_now_us(hub);
    if (!session->user->loaded) {
        wait_for_interest(hub, session, STEP_REGISTERED);
        return;
    }
    session->step = session->wants_backlog ? STEP_LOADING : STEP_LOADED;
    list_push_back(&hub->opening_ready, &session->wait_node);
    hub_soon(hub);
}

void hub_opening_loaded(struct hub *hub, uint64_t id, enum err status) {
    struct session *session = session_find(hub, id);
    if (session == NULL || session->state != SESSION_OPENING) {
        return;
    }
    if (status != ERR_OK) {
        /* A time-out is no different for the client: nothing happened, come again. */
        bool limit = status == ERR_FULL || status == ERR_NO_MEMORY;
        session_opened(session, limit ? REASON_OVERLOAD : REASON_UNAVAILABLE);
        return;
    }
    wait_for_interest(hub, session, STEP_LOADED);
}

void hub_opening_forget(struct hub *hub, struct session *session) {
    if (list_node_linked(&session->wait_node)) {
        bool ready = session->wait_version == 0;
        list_remove(ready ? &hub->opening_ready : &hub->opening_waits, &session->wait_node);
    }
}

static void go_on(struct hub *hub, struct session *session) {
    if (session->step == STEP_LOADED) {
        session_opened(session, REASON_OK);
    } else {
        load(hub, session);
    }
}

void hub_opening_soon(struct hub *hub) {
    struct list_node *node = NULL;
    /* What these begin anew waits for the next time. */
    for (size_t count = hub->opening_ready.count; count > 0; count--) {
        node = list_pop_front(&hub->opening_ready);
        if (node == NULL) {
            break;
        }
        go_on(hub, CONTAINER_OF(node, struct session, wait_node));
    }
    uint64_t now_us = hub_now_us(hub);
    while ((node = list_first(&hub->opening_waits)) != NULL) {
        struct session *session = CONTAINER_OF(node, struct session, wait_node);
        if (session->wait_version > hub_interest_confirmed(hub) &&
            now_us - session->wait_since_us < HUB_ATTACH_US) {
            break;
        }
        list_remove(&hub->opening_waits, node);
        go_on(hub, session);
    }
}
