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

static const uint64_t MS = 1000 * 1000;

/* So many lanes, whose puzzles have had steps enough not to be easy. */
static int riders(trmd_rider *r, int n) {
    for (int i = 0; i < n; i++)
        r[i] = (trmd_rider){.slot = i, .steps = 16 + i, .seen = (uint64_t)i + 1};
    return n;
}

static void test_a_puzzle_that_comes_makes_its_steps_at_once(void **state) {
    trmd_rider r[25];
    trmd_share h = {0};
    (void)state;
    for (int i = 0; i < 100; i++) { /* hard ones alone: by twos on each of two threads */
        assert_int_equal(trmd_share_pick(&h, r, riders(r, 24), 2), 4);
        trmd_share_spent(&h, 4 * MS);
    }
    for (int step = 0; step < 3; step++) { /* an easy one comes, with who else finds a thread */
        (void)riders(r, 24);
        r[24] = (trmd_rider){.slot = 24, .steps = step, .seen = step ? 50 : 0};
        assert_int_equal(trmd_share_pick(&h, r, 25, 2), 2);
        assert_int_equal(r[0].slot, 24);
        trmd_share_spent(&h, 2 * MS);
    }
}

static void test_a_step_leaves_no_thread_idle(void **state) {
    trmd_rider r[9];
    trmd_share h = {0};
    (void)state;
    assert_int_equal(trmd_share_pick(&h, r, riders(r, 1), 2), 1);
    assert_int_equal(trmd_share_pick(&h, r, riders(r, 2), 2), 2);
    assert_int_equal(trmd_share_pick(&h, r, riders(r, 3), 2), 2);
    assert_int_equal(trmd_share_pick(&h, r, riders(r, 5), 4), 4);
    assert_int_equal(trmd_share_pick(&h, r, riders(r, 9), 4), 8);
    assert_int_equal(trmd_share_pick(&h, r, riders(r, 9), 9), 9);
}

/* A stream of new puzzles that would take all the time: those that are left out make steps too. */
static void test_no_stream_of_new_puzzles_starves_the_others(void **state) {
    uint64_t seen[8] = {0}, steps = 0, old = 0;
    trmd_share h = {0};
    (void)state;
    for (int i = 0; i < 4000; i++) {
        trmd_rider r[8];
        for (int k = 0; k < 8; k++)
            r[k] = (trmd_rider){.slot = k, .steps = k < 4 ? 1 : 100, .seen = seen[k]};
        int n = trmd_share_pick(&h, r, 8, 2);
        steps++;
        for (int k = 0; k < n; k++) {
            old += r[k].slot >= 4;
            seen[r[k].slot] = steps;
        }
        trmd_share_spent(&h, 2 * MS);
    }
    assert_in_range(old, steps * 3 / 2, steps * 5 / 2); /* half of 4 a step */
    for (int k = 4; k < 8; k++)
        assert_true(seen[k] + 20 > steps);
}

/* A worker of two threads and 32 slots in time that is counted: a step takes 1.5 ms for every two
 * of its lanes, an attempt has 12. */
static struct {
    trmd_work pool[2000], *in[32];
    uint64_t now, steps, seen[32], next[2], longest;
    int n, left[32];
    trmd_share share;
} sim;

/* An easy puzzle, done in two steps, comes each 50 ms or so; a hard one, done in 60, beside. */
static void sim_arrive(const uint64_t every[2]) {
    for (int hard = 0; hard < 2; hard++)
        for (; every[hard] && sim.next[hard] <= sim.now; sim.n++) {
            trmd_work *w = &sim.pool[sim.n];
            *w = (trmd_work){.alone = true, .index = hard, .queued = sim.next[hard]};
            w->deadline = sim.now + 10000 * MS;
            assert_true(trmd_sched_add(&sched, &w, 1, 0));
            sim.next[hard] += every[hard] + (hard ? 0 : (uint64_t)(sim.n % 7) * 2 * MS);
        }
}

static int sim_fill(trmd_rider *r) {
    int riding = 0, later = trmd_sched_later_slots(32);
    for (int i = 0; i < 32; i++)
        later -= sim.in[i] && sim.in[i]->task.started > 0;
    for (int i = 0; i < 32; i++) {
        trmd_work *w = sim.in[i];
        if (!w && (w = trmd_sched_take(&sched, 0, sim.now, later > 0))) {
            later -= w->task.started > 0;
            sim.in[i] = w;
            sim.left[i] = 12;
            sim.seen[i] = 0;
        }
        if (w)
            r[riding++] = (trmd_rider){i, w->task.steps, sim.seen[i]};
    }
    return riding;
}

static void sim_advance(int slot) {
    trmd_work *w = sim.in[slot];
    sim.seen[slot] = sim.steps;
    bool done = ++w->task.steps == (w->index ? 60 : 2);
    if (done && !w->index && sim.now - w->queued > sim.longest)
        sim.longest = sim.now - w->queued;
    if (!done && --sim.left[slot])
        return;
    sim.in[slot] = NULL;
    w->task.started++;
    if (!done)
        trmd_sched_again(&sched, w);
}

/* The longest that an easy one stays. */
static uint64_t longest_stay(uint64_t hard_every) {
    const uint64_t every[2] = {43 * MS, hard_every};
    memset(&sim, 0, sizeof sim);
    sim.next[1] = 7 * MS;
    trmd_sched_init(&sched, 1, 2000, 1000);
    while (sim.now < 20000 * MS) {
        trmd_rider r[32];
        sim_arrive(every);
        int n = trmd_share_pick(&sim.share, r, sim_fill(r), 2);
        uint64_t took = n ? (uint64_t)(n + 1) / 2 * 3 * MS / 2 : MS / 10;
        sim.now += took;
        sim.steps++;
        trmd_share_spent(&sim.share, took);
        for (int i = 0; i < n; i++)
            sim_advance(r[i].slot);
    }
    return sim.longest;
}

/* Hard ones that take a tenth, half and nine tenths of the time. An easy one waits for the step
 * that is under way, of two lanes a thread; then its own follow as if it were alone. */
static void test_an_easy_puzzle_s_time_does_not_depend_on_hard_ones(void **state) {
    (void)state;
    uint64_t alone = longest_stay(0);
    assert_true(alone < 4 * MS);
    for (int share = 1; share <= 9; share += 4)
        assert_true(longest_stay(60 * MS * 3 / 4 * 10 / (uint64_t)share) <= alone + 3 * MS);
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
        cmocka_unit_test(test_a_puzzle_that_comes_makes_its_steps_at_once),
        cmocka_unit_test(test_a_step_leaves_no_thread_idle),
        cmocka_unit_test(test_no_stream_of_new_puzzles_starves_the_others),
        cmocka_unit_test(test_an_easy_puzzle_s_time_does_not_depend_on_hard_ones),
        cmocka_unit_test(test_kinds_share_the_time_and_not_the_steps),
        cmocka_unit_test(test_equal_work_is_done_once_but_takes_its_places),
        cmocka_unit_test(test_other_options_are_other_work),
        cmocka_unit_test(test_a_follower_in_haste_moves_its_leader_up),
        cmocka_unit_test(test_the_lead_is_handed_over),
        cmocka_unit_test(test_a_follower_keeps_its_own_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
