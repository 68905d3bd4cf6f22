/* Refused turns: case by case, and in a model of an MQTT session and of routing's admission where
 * answers come late and in any order, conversations leave the cache and memory runs out. */
#include "tests/unit/routing/support.h"

#include "common/mem.h"
#include "services/routing/turns.h"
#include <string.h>

/* `message` stands for an id. */
static struct turn turn_of(uint8_t message, uint64_t session, uint64_t turn, uint64_t oldest) {
    static uint8_t ids[256][ID_UUID_BYTES];
    ids[message][ID_UUID_BYTES - 1] = message;
    return (struct turn){
        .id = ids[message], .session = session, .turn = turn, .oldest = oldest, .place = turn};
}

static bool refused(struct turns *turns, uint8_t message, uint64_t turn) {
    struct turn try = turn_of(message, 7, turn, 0);
    return turns_refused(turns, &try, 0);
}

static bool may(struct turns *turns, uint8_t message, uint64_t turn, uint64_t oldest) {
    struct turn try = turn_of(message, 7, turn, oldest);
    bool does = turns_may(turns, &try, 0);
    if (does) {
        turns_take(turns, &try);
    }
    return does;
}

static void turns_forget_what_is_known(void **state) {
    (void)state;
    struct turns turns = {0};
    struct turn other = turn_of('o', 8, 6, 5);
    assert_true(may(&turns, 'z', 1, 1));
    assert_true(refused(&turns, 'a', 5));
    assert_true(refused(&turns, 'b', 9));
    assert_false(may(&turns, 'c', 6, 5));
    assert_true(turns_may(&turns, &other, 0)); /* another session */
    assert_true(may(&turns, 'c', 4, 4));       /* was sent before */
    assert_true(may(&turns, 'c', 8, 6));       /* knows of 5; 9 came behind it */
    assert_false(may(&turns, 'c', 10, 9));
    assert_int_equal(turns.count, 2);
    assert_true(may(&turns, 'c', 11, 10));
    assert_int_equal(turns.count, 0);
    assert_null(turns.refused);
}

static void turns_keep_places(void **state) {
    (void)state;
    struct turns turns = {0};
    assert_true(refused(&turns, 'a', 1));
    assert_true(refused(&turns, 'b', 2));
    assert_true(refused(&turns, 'c', 3));
    struct turn try = turn_of('a', 7, 4, 3); /* knows of a and b; c's answer is on its way */
    assert_true(turns_may(&turns, &try, 0));
    assert_int_equal(try.place, 1);
    assert_int_equal(turns.count, 3); /* others may still wait that must not pass it */
    turns_take(&turns, &try);
    assert_int_equal(turns.count, 2);            /* b is known, and has its place */
    assert_true(turns_refused(&turns, &try, 0)); /* later, after all */
    assert_false(may(&turns, 'b', 5, 3));        /* a's second refusal */
    assert_true(refused(&turns, 'b', 5));        /* the same entry */
    assert_int_equal(turns.count, 3);
    assert_true(may(&turns, 'a', 6, 3));  /* before c, before b's second */
    assert_false(may(&turns, 'd', 7, 5)); /* b's second refusal is unknown */
    assert_true(may(&turns, 'b', 8, 3));  /* still before c */
    assert_false(may(&turns, 'd', 9, 3));
    assert_true(may(&turns, 'c', 10, 10));
    assert_int_equal(turns.count, 0);
}

/* The same try a second time: its connection was lost, and with it the refusal. */
static void turns_let_the_same_try_through(void **state) {
    (void)state;
    struct turns turns = {0};
    assert_true(refused(&turns, 'a', 1));
    assert_true(refused(&turns, 'b', 2));
    assert_false(may(&turns, 'b', 2, 1));
    assert_true(may(&turns, 'a', 1, 1));
    assert_true(may(&turns, 'b', 2, 1));
    assert_int_equal(turns.count, 0);
}

static void turns_are_bounded(void **state) {
    (void)state;
    struct turns turns = {0};
    for (uint64_t i = 0; i <= TURNS_MAX; i++) {
        struct turn try = turn_of('a', i, 1, 1);
        assert_int_equal(turns_refused(&turns, &try, 0), i < TURNS_MAX);
        assert_int_equal(turns_refused(&turns, &try, 0), i < TURNS_MAX); /* no second entry */
    }
    assert_int_equal(turns.count, TURNS_MAX);
    struct turn first = turn_of('b', 0, 2, 1);
    assert_false(turns_may(&turns, &first, 0)); /* none was given up */
    assert_false(turns_may(&turns, &first, TURNS_KEPT_US - 1));
    struct turn late = turn_of('a', TURNS_MAX, 1, 1);
    assert_true(turns_refused(&turns, &late, TURNS_KEPT_US)); /* the old ones made room */
    assert_int_equal(turns.count, 1);
    assert_true(turns_may(&turns, &first, TURNS_KEPT_US));
    assert_true(turns_may(&turns, &first, 2 * TURNS_KEPT_US));
    turns_take(&turns, &first);
    assert_int_equal(turns.count, 0);
    turns_finish(&turns);
    (void)mem_fault_set(1, 1);
    assert_false(refused(&turns, 'a', 1));
    (void)mem_fault_set(0, 0);
    assert_int_equal(turns.count, 0);
    turns_finish(&turns);
}

static struct turns_rough rough;

static bool roughly_may(uint64_t session, uint64_t turn, uint64_t oldest, uint64_t now_us) {
    struct turn try = turn_of('a', session, turn, oldest);
    return turns_rough_may(&rough, &try, now_us);
}

static void rough_turns_hold_one_session_up(void **state) {
    (void)state;
    rough = (struct turns_rough){0};
    assert_true(roughly_may(7, 2, 1, 0));
    turns_rough_refused(&rough, 7, 3, 0);
    turns_rough_refused(&rough, 7, 2, 0); /* that of another conversation came later */
    assert_false(roughly_may(7, 5, 3, 0));
    assert_true(roughly_may(7, 5, 4, 0)); /* knows of both */
    assert_true(roughly_may(7, 3, 3, 0)); /* nothing else is without an answer */
    assert_true(roughly_may(8, 5, 3, 0));
    assert_true(roughly_may(7 + TURNS_ROUGH_SLOTS, 5, 3, 0)); /* the same slot */
    assert_false(roughly_may(7, 5, 3, TURNS_KEPT_US - 1));
    assert_true(roughly_may(7, 5, 3, TURNS_KEPT_US));
}

static void rough_turns_share_slots(void **state) {
    (void)state;
    rough = (struct turns_rough){0};
    uint64_t other = 7 + TURNS_ROUGH_SLOTS, third = other + TURNS_ROUGH_SLOTS;
    turns_rough_refused(&rough, 7, 3, 0);
    turns_rough_refused(&rough, other, 90, 1);
    assert_false(roughly_may(7, 5, 3, 1));
    assert_false(roughly_may(7, 5, 4, 1)); /* what was known is lost: refused, not reordered */
    assert_false(roughly_may(other, 91, 90, 1));
    assert_false(roughly_may(third, 2, 1, 1));
    assert_true(roughly_may(third, 2, 2, 1)); /* one at a time */
    assert_true(roughly_may(8, 2, 1, 1));
    turns_rough_refused(&rough, 7, 9, 1 + TURNS_KEPT_US);
    assert_true(roughly_may(other, 91, 90, 1 + TURNS_KEPT_US)); /* its own again */
    assert_false(roughly_may(7, 10, 9, 1 + TURNS_KEPT_US));
}

static void rough_turns_take_over(void **state) {
    (void)state;
    rough = (struct turns_rough){0};
    struct turns turns = {0};
    struct turn late = turn_of('b', 8, 4, 4);
    assert_true(refused(&turns, 'a', 3));
    assert_true(turns_refused(&turns, &late, TURNS_KEPT_US - 1));
    turns_rough_take(&rough, &turns, TURNS_KEPT_US);
    assert_null(turns.refused);
    assert_true(roughly_may(7, 5, 3, TURNS_KEPT_US)); /* was over */
    assert_false(roughly_may(8, 5, 4, TURNS_KEPT_US));
}

/* --- a session, its conversations, and everything late */

#define MODEL_MESSAGES 40u
#define MODEL_CONVERSATIONS 2u
#define MODEL_WINDOW 8u /* without an answer */
#define MODEL_STEPS 100000u
#define MODEL_SEEDS 3000u

struct model_message {
    unsigned conversation;
    uint64_t turn, oldest;
    bool out, again, stored, done; /* out: without an answer; again: refused, mqtt_publishing.c */
};
struct model_try {
    uint8_t message;
    struct turn turn;
    bool refused, lost; /* lost: nobody waits for the answer */
};
struct model_list {
    size_t count;
    struct model_try tries[MODEL_MESSAGES * 2];
};
struct model_conversation {
    bool cached;
    struct turns turns;
    struct model_list inbox;
    unsigned last; /* stored, as number + 1 */
};
struct model {
    uint64_t random, last_turn;
    unsigned percent_refused;
    bool planted; /* refusals for overtaking are not remembered */
    unsigned sent, disorder;
    struct model_message messages[MODEL_MESSAGES];
    struct model_conversation conversations[MODEL_CONVERSATIONS];
    struct model_list requests, answers;
};

static unsigned roll(struct model *model, unsigned below) {
    model->random ^= model->random << 13; /* xorshift64; Source: Marsaglia, Xorshift RNGs, 2003 */
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return (unsigned)(model->random >> 33) % below;
}

static void push(struct model_list *list, struct model_try try) {
    assert_true(list->count < sizeof list->tries / sizeof list->tries[0]);
    list->tries[list->count++] = try;
}

static struct model_try take(struct model_list *list, size_t at) {
    struct model_try try = list->tries[at];
    list->count--;
    memmove(&list->tries[at], &list->tries[at + 1], (list->count - at) * sizeof try);
    return try;
}

/* --- the session */

static void model_submit(struct model *model, unsigned number) {
    struct model_message *message = &model->messages[number];
    message->out = true;
    message->turn = ++model->last_turn;
    uint64_t oldest = message->turn;
    for (unsigned i = 0; i < model->sent; i++) {
        const struct model_message *other = &model->messages[i];
        if (other->out && other->conversation == message->conversation && other->turn < oldest) {
            oldest = other->turn;
        }
    }
    message->oldest = oldest;
    push(&model->requests,
         (struct model_try){.message = (uint8_t)number,
                            .turn = turn_of((uint8_t)number, 7, message->turn, oldest)});
}

static void model_send(struct model *model) {
    unsigned out = 0, again = 0;
    for (unsigned i = 0; i < model->sent; i++) {
        out += model->messages[i].out;
        again += model->messages[i].again;
    }
    if (model->sent < MODEL_MESSAGES && again == 0 && out < MODEL_WINDOW) {
        model->messages[model->sent].conversation = roll(model, MODEL_CONVERSATIONS);
        model->sent++;
        model_submit(model, model->sent - 1);
    }
}

static void model_retry(struct model *model) {
    unsigned i = 0;
    while (i < model->sent && !model->messages[i].again) {
        i++;
    }
    if (i < model->sent && !model->messages[i].out) {
        model_submit(model, i);
    }
}

static void model_answer(struct model *model) {
    if (model->answers.count == 0) {
        return;
    }
    struct model_try try =
        take(&model->answers, roll(model, (unsigned)model->answers.count)); /* any of them */
    struct model_message *message = &model->messages[try.message];
    bool freed = message->again && !try.refused;
    message->out = false;
    message->again = try.refused;
    message->done = !try.refused;
    if (freed) {
        model_retry(model);
    }
}

/* --- routing: submit.c and admit.c in short */

static void model_tell(struct model *model, struct model_try try) {
    if (!try.lost) {
        push(&model->answers, try);
    }
}

static void model_take_turn(struct model_conversation *conversation, const struct model_try *try) {
    if (conversation->cached) {
        turns_take(&conversation->turns, &try->turn);
    }
}

static bool model_overtakes(struct model_conversation *conversation, struct model_try *try) {
    bool cached = conversation->cached;
    return !turns_rough_may(&rough, &try->turn, 0) ||
           (cached && !turns_may(&conversation->turns, &try->turn, 0));
}

static void model_refuse(struct model *model, struct model_conversation *conversation,
                         struct model_try try) {
    (void)mem_fault_set(roll(model, 8) == 0, 1);
    bool kept = conversation->cached && turns_refused(&conversation->turns, &try.turn, 0);
    (void)mem_fault_set(0, 0);
    if (!kept) {
        turns_rough_refused(&rough, 7, try.turn.turn, 0);
    }
    try.refused = true;
    model_tell(model, try);
}

static bool model_fails(struct model *model) {
    return roll(model, 100) < model->percent_refused;
}

static void model_receive(struct model *model) {
    if (model->requests.count == 0) {
        return;
    }
    struct model_try try = take(&model->requests, 0);
    struct model_conversation *conversation =
        &model->conversations[model->messages[try.message].conversation];
    if (model_overtakes(conversation, &try)) {
        if (model->planted) {
            try.refused = true;
            model_tell(model, try);
        } else {
            model_refuse(model, conversation, try);
        }
    } else if (model_fails(model)) {
        model_refuse(model, conversation, try);
    } else {
        conversation->cached = true;
        push(&conversation->inbox, try);
    }
}

static void model_store(struct model *model, struct model_conversation *conversation,
                        struct model_try try) {
    struct model_message *message = &model->messages[try.message];
    if (!message->stored) {
        model->disorder += try.message + 1u < conversation->last;
        conversation->last = try.message + 1u;
    }
    message->stored = true;
    model_tell(model, try);
}

static void model_admit(struct model *model) {
    unsigned number = roll(model, MODEL_CONVERSATIONS);
    struct model_conversation *conversation = &model->conversations[number];
    if (conversation->inbox.count == 0) {
        return;
    }
    struct model_try try = take(&conversation->inbox, 0);
    bool stored = model->messages[try.message].stored;
    if (!stored && (model_overtakes(conversation, &try) || model_fails(model))) {
        model_refuse(model, conversation, try); /* a look-up failed: those behind it stay */
        return;
    }
    model_take_turn(conversation, &try);
    if (stored || !model_fails(model)) {
        model_store(model, conversation, try);
        return;
    }
    model_refuse(model, conversation, try); /* by storage: append.c refuses all behind it */
    while (conversation->inbox.count > 0) {
        model_refuse(model, conversation, take(&conversation->inbox, 0));
    }
}

/* The connection between the two: what is without an answer is sent again as it was. */
static void model_lose(struct model *model) {
    if (roll(model, 20) != 0) {
        return;
    }
    model->requests.count = model->answers.count = 0;
    for (size_t i = 0; i < MODEL_CONVERSATIONS; i++) {
        struct model_list *inbox = &model->conversations[i].inbox;
        for (size_t k = 0; k < inbox->count; k++) {
            inbox->tries[k].lost = true;
        }
    }
    for (uint64_t turn = 1; turn <= model->last_turn; turn++) {
        for (unsigned i = 0; i < model->sent; i++) {
            const struct model_message *message = &model->messages[i];
            if (message->out && message->turn == turn) {
                push(&model->requests,
                     (struct model_try){.message = (uint8_t)i,
                                        .turn = turn_of((uint8_t)i, 7, turn, message->oldest)});
            }
        }
    }
}

static void model_evict(struct model *model) {
    struct model_conversation *conversation =
        &model->conversations[roll(model, MODEL_CONVERSATIONS)];
    if (roll(model, 10) == 0 && conversation->inbox.count == 0) {
        turns_rough_take(&rough, &conversation->turns, 0);
        conversation->cached = false;
    }
}

static bool model_ended(const struct model *model) {
    unsigned done = 0;
    for (unsigned i = 0; i < model->sent; i++) {
        done += model->messages[i].done;
    }
    return done == MODEL_MESSAGES;
}

/* How many were stored behind a later one. */
static unsigned run_model(uint64_t seed, bool planted) {
    static void (*const steps[])(struct model *model) = {model_send,    model_retry,   model_answer,
                                                         model_receive, model_receive, model_lose,
                                                         model_admit,   model_evict};
    static struct model model;
    model = (struct model){.random = seed * 0x9E3779B97F4A7C15u, .planted = planted};
    model.percent_refused = roll(&model, 40);
    rough = (struct turns_rough){0};
    unsigned step = 0;
    for (; step < MODEL_STEPS && !model_ended(&model); step++) {
        steps[roll(&model, sizeof steps / sizeof steps[0])](&model);
        assert_true(model.conversations[0].turns.count <= MODEL_MESSAGES);
    }
    assert_true(step < MODEL_STEPS); /* nobody waits for ever */
    for (size_t i = 0; i < MODEL_CONVERSATIONS; i++) {
        turns_finish(&model.conversations[i].turns);
    }
    return model.disorder;
}

static void nothing_is_ever_overtaken(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= MODEL_SEEDS; seed++) {
        assert_int_equal(run_model(seed, false), 0);
    }
}

static void the_model_finds_a_planted_disorder(void **state) {
    (void)state;
    unsigned disorder = 0;
    for (uint64_t seed = 1; seed <= MODEL_SEEDS; seed++) {
        disorder += run_model(seed, true);
    }
    assert_true(disorder > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_forget_what_is_known),
        cmocka_unit_test(turns_keep_places),
        cmocka_unit_test(turns_let_the_same_try_through),
        cmocka_unit_test(turns_are_bounded),
        cmocka_unit_test(rough_turns_hold_one_session_up),
        cmocka_unit_test(rough_turns_share_slots),
        cmocka_unit_test(rough_turns_take_over),
        cmocka_unit_test(nothing_is_ever_overtaken),
        cmocka_unit_test(the_model_finds_a_planted_disorder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
