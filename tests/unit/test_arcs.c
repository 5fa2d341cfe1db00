/* ARC tasks take turns, wait in line, and are found when they are late or cancelled there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arcs.h"

static trmd_work *fresh(trmd_work *w) {
    memset(w, 0, sizeof *w);
    w->deadline = 1000;
    return w;
}

static void test_running_tasks_take_turns(void **state) {
    trmd_arcs s;
    trmd_work w[3];
    (void)state;
    trmd_arcs_init(&s, 3, 3);
    for (int i = 0; i < 3; i++)
        assert_true(trmd_arcs_add(&s, fresh(&w[i])));
    w[0].model = 2;
    for (int turn = 0; turn < 9; turn++) {
        assert_int_equal(trmd_arcs_model(&s, 1), w[turn % 3].model);
        trmd_work *got = trmd_arcs_take(&s, 1);
        assert_ptr_equal(got, &w[turn % 3]);
        trmd_arcs_back(&s, got);
    }
    assert_int_equal(s.running, 3);
    assert_int_equal(s.waiting, 0);
}

static void test_more_wait_and_then_are_refused(void **state) {
    trmd_arcs s;
    trmd_work w[4];
    (void)state;
    trmd_arcs_init(&s, 1, 2);
    for (int i = 0; i < 4; i++)
        (void)fresh(&w[i]);
    assert_true(trmd_arcs_add(&s, &w[0]));
    assert_ptr_equal(trmd_arcs_take(&s, 1), &w[0]);
    assert_true(trmd_arcs_add(&s, &w[1]));
    assert_true(trmd_arcs_add(&s, &w[2]));
    assert_false(trmd_arcs_add(&s, &w[3]));
    assert_int_equal(trmd_arcs_model(&s, 1), -1);
    assert_null(trmd_arcs_take(&s, 1)); /* the one that runs is another's turn */
    assert_true(trmd_arcs_idle(&s));
    trmd_arcs_back(&s, &w[0]);
    assert_false(trmd_arcs_idle(&s));
    assert_ptr_equal(trmd_arcs_take(&s, 1), &w[0]);
    trmd_arcs_gone(&s);
    assert_ptr_equal(trmd_arcs_take(&s, 1), &w[1]); /* in the order they came */
    assert_true(trmd_arcs_add(&s, &w[3]));
}

static void test_late_and_cancelled_ones_leave_the_line(void **state) {
    trmd_arcs s;
    trmd_work w[4];
    (void)state;
    trmd_arcs_init(&s, 1, 3);
    for (int i = 0; i < 4; i++)
        assert_true(trmd_arcs_add(&s, fresh(&w[i])) || i == 3);
    assert_ptr_equal(trmd_arcs_take(&s, 1), &w[0]);
    atomic_store(&w[2].cancelled, true);
    assert_ptr_equal(trmd_arcs_take(&s, 1), &w[2]);
    trmd_arcs_gone(&s);
    w[1].deadline = 5;
    assert_null(trmd_arcs_take(&s, 4));
    assert_ptr_equal(trmd_arcs_take(&s, 5), &w[1]);
    trmd_arcs_gone(&s);
    assert_int_equal(s.running, 1);
    assert_int_equal(s.waiting, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running_tasks_take_turns),
        cmocka_unit_test(test_more_wait_and_then_are_refused),
        cmocka_unit_test(test_late_and_cancelled_ones_leave_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
