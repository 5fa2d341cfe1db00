/* The scheduler under a clock of our own: no engine, no threads, no waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "schedule.h"

static trmd_work work[64];
static trmd_sched sched;

static trmd_work *make(int i, uint64_t deadline, int started) {
    memset(&work[i], 0, sizeof work[i]);
    work[i].deadline = deadline;
    work[i].due = deadline;
    work[i].task.started = started;
    work[i].alone = true;
    return &work[i];
}

static void add(int i, uint64_t deadline) {
    trmd_work *w = make(i, deadline, 0);
    assert_true(trmd_sched_add(&sched, &w, 1, 10));
}

static void test_all_or_nothing(void **state) {
    (void)state;
    trmd_work *list[4] = {make(0, 100, 0), make(1, 100, 0), make(2, 100, 0), make(3, 100, 0)};
    trmd_sched_init(&sched, 1, 3, 1000);
    assert_false(trmd_sched_add(&sched, list, 4, 10));
    assert_int_equal(sched.waiting, 0);
    assert_true(trmd_sched_idle(&sched));
    assert_true(trmd_sched_add(&sched, list, 3, 10));
    assert_false(trmd_sched_room(&sched, 1, 10));
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[0]);
    assert_true(trmd_sched_room(&sched, 1, 10));
    assert_false(trmd_sched_room(&sched, 1, 991)); /* bytes stay until the answer is out */
    trmd_sched_leave(&sched, 10);
    assert_true(trmd_sched_room(&sched, 1, 991));
}

static void test_earliest_deadline_first(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    add(0, 300);
    add(1, 100);
    add(2, 200);
    add(3, 100); /* equal deadlines: first come, first served */
    static const int want[] = {1, 3, 2, 0};
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[want[i]]);
    assert_null(trmd_sched_take(&sched, 0, 1, true));
}

/* Two values of the clock: one before the deadline, one at it. */
static void test_expired_work_never_starts(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    add(0, 100);
    assert_null(trmd_sched_overdue(&sched, 99, 0));
    assert_ptr_equal(trmd_sched_take(&sched, 0, 99, true), &work[0]);
    add(0, 100);
    assert_null(trmd_sched_take(&sched, 0, 100, true));
    assert_ptr_equal(trmd_sched_overdue(&sched, 100, 0), &work[0]);
    assert_int_equal(sched.waiting, 0);
}

static void test_cancelled_work_never_starts(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    add(0, 100);
    add(1, 200);
    atomic_store(&work[0].cancelled, true);
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[1]);
    assert_ptr_equal(trmd_sched_overdue(&sched, 1, 0), &work[0]);
    assert_true(trmd_sched_idle(&sched));
}

/* However many hard puzzles come back, a fresh one waits for at most one of them. */
static void test_fresh_puzzles_pass_hard_ones(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    for (int i = 10; i < 60; i++)
        trmd_sched_again(&sched, make(i, 1, 1 + i % 3));
    for (int i = 10; i < 60; i++)
        work[i].deadline = 10000;
    int before = 0;
    for (int k = 0; k < 8; k++) {
        add(k, 10000);
        while (trmd_sched_take(&sched, 0, 1, true) != &work[k])
            before++;
    }
    assert_in_range(before, 1, 3); /* every fourth slot, so that hard ones end too */
}

static void test_hard_puzzles_are_not_starved(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    trmd_sched_again(&sched, make(0, 10000, 5));
    int k = 1;
    for (;; k++) {
        assert_true(k < 8);
        add(k, 10000);
        if (trmd_sched_take(&sched, 0, 1, true) == &work[0])
            break;
    }
}

static void test_fewest_attempts_come_back_first(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    trmd_sched_again(&sched, make(0, 100, 3));
    trmd_sched_again(&sched, make(1, 200, 1));
    trmd_sched_again(&sched, make(2, 100, 1));
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[2]);
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[1]);
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[0]);
}

static void test_models_have_queues_of_their_own(void **state) {
    (void)state;
    trmd_sched_init(&sched, 2, 64, 1000);
    trmd_work *w = make(0, 100, 0);
    w->model = 1;
    assert_true(trmd_sched_add(&sched, &w, 1, 0));
    assert_null(trmd_sched_take(&sched, 0, 1, true));
    assert_ptr_equal(trmd_sched_take(&sched, 1, 1, true), w);
}

static void test_retry_after_is_bounded(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 1000, 1000);
    assert_int_equal(trmd_sched_retry_after(&sched, 0), 1);
    sched.waiting = 1000;
    assert_int_equal(trmd_sched_retry_after(&sched, 100), 10);
    assert_int_equal(trmd_sched_retry_after(&sched, 0.1), 60);
}

/* A work that may be shared; equal `what` is equal work. */
static trmd_work *shared(int i, uint64_t deadline, int what) {
    trmd_work *w = make(i, deadline, 0);
    w->alone = false;
    w->task.puzzle.sudoku.cell[80] = (uint8_t)what;
    assert_true(trmd_sched_add(&sched, &w, 1, 10));
    return w;
}

static void test_equal_work_is_done_once_but_takes_its_places(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 4, 1000);
    for (int i = 0; i < 3; i++)
        (void)shared(i, 100, 7);
    (void)shared(3, 100, 8);
    assert_int_equal(sched.waiting, 4);
    assert_false(trmd_sched_room(&sched, 1, 0));
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[0]);
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[3]);
    assert_null(trmd_sched_take(&sched, 0, 1, true));
    assert_int_equal(sched.waiting, 2); /* followers wait until the end */
    work[0].task.steps = 5;
    trmd_work *list = trmd_sched_end(&sched, &work[0], true);
    int n = 0;
    for (; list; list = list->next, n++) {
        assert_int_equal(list->task.steps, 5);
        assert_true(list->coalesced);
    }
    assert_int_equal(n, 2);
    assert_int_equal(sched.waiting, 0);
    assert_null(trmd_sched_end(&sched, &work[3], true));
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), NULL);
    (void)shared(0, 100, 7); /* nobody is left to follow */
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[0]);
}

static void test_other_options_are_other_work(void **state) {
    (void)state;
    trmd_sched_init(&sched, 2, 64, 1000);
    (void)shared(0, 100, 7);
    for (int i = 1; i < 5; i++) {
        trmd_work *w = make(i, 100, 0);
        w->alone = i == 4;
        w->task.puzzle.sudoku.cell[80] = 7;
        w->model = i == 1;
        w->task.policy.attempts = i == 2;
        w->task.policy.halt = i == 3 ? TRM_HALT_ACT : TRM_HALT_AUTO;
        assert_true(trmd_sched_add(&sched, &w, 1, 10));
    }
    assert_ptr_equal(trmd_sched_take(&sched, 1, 1, true), &work[1]);
    for (int i = 0; i < 4; i++)
        assert_non_null(trmd_sched_take(&sched, 0, 1, true));
}

static void test_a_follower_in_haste_moves_its_leader_up(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    (void)shared(0, 300, 7);
    (void)shared(1, 200, 8);
    (void)shared(2, 100, 7);
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[0]);
}

/* A leader whose client leaves, or whose own deadline passes, costs its followers nothing. */
static void test_the_lead_is_handed_over(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    (void)shared(0, 100, 7);
    (void)shared(1, 500, 7);
    (void)shared(2, 500, 7);
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[0]);
    assert_null(trmd_sched_end(&sched, &work[0], false));
    trmd_work *heir = trmd_sched_take(&sched, 0, 100, true);
    assert_true(heir == &work[1] || heir == &work[2]);
    assert_int_equal(sched.waiting, 1);
    trmd_work *other = trmd_sched_end(&sched, heir, true);
    assert_true(other && other != heir && !other->next);
    assert_int_equal(sched.waiting, 0);
    assert_true(trmd_sched_idle(&sched));
}

static void test_a_follower_keeps_its_own_deadline(void **state) {
    (void)state;
    trmd_sched_init(&sched, 1, 64, 1000);
    (void)shared(0, 500, 7);
    (void)shared(1, 100, 7);
    assert_ptr_equal(trmd_sched_take(&sched, 0, 1, true), &work[0]);
    work[0].runner = 1;
    work[0].task.steps = 3;
    assert_null(trmd_sched_overdue(&sched, 99, 1));
    assert_null(trmd_sched_overdue(&sched, 100, 0)); /* the leader is in another's slots */
    assert_ptr_equal(trmd_sched_overdue(&sched, 100, 1), &work[1]);
    assert_int_equal(work[1].task.steps, 3); /* the best answer so far */
    assert_int_equal(sched.waiting, 0);
    assert_null(trmd_sched_end(&sched, &work[1], false));
    assert_null(trmd_sched_end(&sched, &work[0], true));
}

/* Slots, steps and puzzles of two sorts, as a worker has them: the easy end after a step, the
 * hard never within their attempts of 16 steps. How long does an easy one wait at most? */
static int worst_wait(int hard_of_100, int steps) {
    enum { SLOTS = 32, ATTEMPT = 16, ATTEMPTS = 8 };
    static trmd_work pool[8192], *slot[SLOTS];
    int left[SLOTS], n = 0, worst = 0;
    memset(pool, 0, sizeof pool);
    memset(slot, 0, sizeof slot);
    trmd_sched_init(&sched, 1, 8192, 1000);
    for (int t = 1; t <= steps; t++) {
        trmd_work *w = &pool[n];
        w->alone = true;
        w->deadline = 1000000;
        w->queued = (uint64_t)t;
        w->index = n * 37 % 100 < hard_of_100; /* hard */
        assert_true(trmd_sched_add(&sched, &w, 1, 0));
        n++;
        for (int i = 0; i < SLOTS; i++)
            if (slot[i] && --left[i] == 0) {
                if (slot[i]->index && ++slot[i]->task.started < ATTEMPTS)
                    trmd_sched_again(&sched, slot[i]);
                slot[i] = NULL;
            }
        for (int i = 0; i < SLOTS; i++) {
            int later = trmd_sched_later_slots(SLOTS);
            for (int k = 0; k < SLOTS; k++)
                later -= slot[k] && slot[k]->task.started > 0;
            if (slot[i] || !(w = trmd_sched_take(&sched, 0, 1, later > 0)))
                continue;
            slot[i] = w;
            left[i] = w->index ? ATTEMPT : 1;
            int waited = t - (int)w->queued;
            if (!w->index && waited > worst)
                worst = waited;
        }
    }
    return worst;
}

/* A puzzle arrives at every step. While first attempts fit into the slots kept for them, easy
 * puzzles do not wait, however many later attempts there are; beyond that (here from some 40%
 * on, where the hard ones ask for all the slots there are and more) for an attempt at most. */
static void test_easy_puzzles_do_not_wait_for_hard_ones(void **state) {
    (void)state;
    assert_int_equal(worst_wait(0, 4000), 0);
    assert_int_equal(worst_wait(5, 4000), 0);
    assert_int_equal(worst_wait(20, 4000), 0);
    assert_in_range(worst_wait(40, 4000), 0, 16);
    assert_in_range(worst_wait(60, 4000), 0, 16);
}

static void test_a_puzzle_that_comes_does_not_pay_for_hard_ones(void **state) {
    const uint64_t ms = 1000 * 1000;
    trmd_share h = {0};
    (void)state;
    assert_false(trmd_share_first(&h, 0, 24)); /* hard ones alone */
    trmd_share_spent(&h, false, 500 * ms);
    for (int i = 0; i < 3; i++) { /* an easy one comes and is solved in three steps */
        assert_true(trmd_share_first(&h, 1, 24));
        trmd_share_spent(&h, true, 2 * ms);
    }
}

static void test_a_stream_of_easy_puzzles_leaves_half_of_the_time(void **state) {
    const uint64_t ms = 1000 * 1000, cost[2] = {20 * ms, 2 * ms};
    uint64_t spent[2] = {0, 0};
    trmd_share h = {0};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        bool first = trmd_share_first(&h, 2, 24);
        trmd_share_spent(&h, first, cost[first]);
        spent[first] += cost[first];
    }
    assert_true(spent[0] > 9 * (spent[0] + spent[1]) / 20);
    assert_true(spent[1] > 9 * (spent[0] + spent[1]) / 20);
    assert_false(trmd_share_first(&h, 0, 24)); /* what hard ones use alone is nobody's debt */
    trmd_share_spent(&h, false, 5000 * ms);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(trmd_share_first(&h, 2, 24), i < 5);
        trmd_share_spent(&h, i < 5, cost[i < 5]);
    }
}

static void test_kinds_share_the_time_and_not_the_steps(void **state) {
    (void)state;
    static const uint64_t cost[3] = {1000, 50000, 3000};
    trmd_turns t = {0};
    bool busy[3] = {true, true, false};
    for (int i = 0; i < 1000; i++) {
        int m = trmd_turn_next(&t, busy, 3);
        trmd_turn_spent(&t, m, cost[m]);
    }
    uint64_t gap = t.spent[0] > t.spent[1] ? t.spent[0] - t.spent[1] : t.spent[1] - t.spent[0];
    assert_true(gap <= cost[1]);
    /* the third comes: it gets its turn at once, but not all the time it did not need */
    uint64_t before[3] = {
        t.spent[0], t.spent[1], t.spent[0] < t.spent[1] ? t.spent[0] : t.spent[1]};
    busy[2] = true;
    for (int i = 0; i < 1000; i++) {
        int m = trmd_turn_next(&t, busy, 3);
        trmd_turn_spent(&t, m, cost[m]);
    }
    for (int m = 0; m < 3; m++)
        assert_in_range((t.spent[m] - before[m]) / 1000, (t.spent[0] - before[0]) / 1000 - 100,
            (t.spent[0] - before[0]) / 1000 + 100);
    busy[0] = busy[1] = busy[2] = false;
    assert_int_equal(trmd_turn_next(&t, busy, 3), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_or_nothing),
        cmocka_unit_test(test_earliest_deadline_first),
        cmocka_unit_test(test_expired_work_never_starts),
        cmocka_unit_test(test_cancelled_work_never_starts),
        cmocka_unit_test(test_fresh_puzzles_pass_hard_ones),
        cmocka_unit_test(test_hard_puzzles_are_not_starved),
        cmocka_unit_test(test_fewest_attempts_come_back_first),
        cmocka_unit_test(test_models_have_queues_of_their_own),
        cmocka_unit_test(test_retry_after_is_bounded),
        cmocka_unit_test(test_easy_puzzles_do_not_wait_for_hard_ones),
        cmocka_unit_test(test_a_puzzle_that_comes_does_not_pay_for_hard_ones),
        cmocka_unit_test(test_a_stream_of_easy_puzzles_leaves_half_of_the_time),
        cmocka_unit_test(test_kinds_share_the_time_and_not_the_steps),
        cmocka_unit_test(test_equal_work_is_done_once_but_takes_its_places),
        cmocka_unit_test(test_other_options_are_other_work),
        cmocka_unit_test(test_a_follower_in_haste_moves_its_leader_up),
        cmocka_unit_test(test_the_lead_is_handed_over),
        cmocka_unit_test(test_a_follower_keeps_its_own_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
