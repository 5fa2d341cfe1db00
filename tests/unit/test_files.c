/* Model files and checkpoints: what is well-formed is read, what is hostile is refused by
 * name. */
#include "golden.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trm/import.h"

static char *slurp(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    (void)fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*size);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, f), *size);
    (void)fclose(f);
    return data;
}

static void refused(const char *header, size_t data, const char *says) {
    trm_st_file *f;
    trm_error err;
    size_t n = strlen(header);
    char *bytes = calloc(1, 8 + n + data);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(n >> (8 * i));
    memcpy(bytes + 8, header, n);
    if (trm_st_open_memory(&f, bytes, 8 + n + data, "x", &err) == 0)
        fail_msg("accepted: %s", header);
    if (!strstr(err.text, says))
        fail_msg("%s: %s", header, err.text);
    free(bytes);
}

static void test_hostile_safetensors_are_refused(void **state) {
    (void)state;
    refused("{", 0, "not JSON");
    refused("[]", 0, "not a JSON object");
    refused("{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":1}}}}}", 0, "too deeply");
    refused("{\"a\":1}", 0, "tensor a");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "tensor a");
    refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "its shape needs 8");
    refused("{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "F99");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "whole number");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,4]}}",
        4, "impossibly large");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "do not lie");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        4, "overlap");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "hole");
    refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 9, "after the last");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
            "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        8, "duplicate");
    refused("{\"__metadata__\":{\"config\":5}}", 0, "config");
    trm_st_file *f;
    trm_error err;
    assert_int_not_equal(trm_st_open_memory(&f, "short", 5, "x", &err), 0);
    assert_int_not_equal(
        trm_st_open_memory(&f, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "x", &err), 0);
}

static void test_write_and_read_back(void **state) {
    (void)state;
    char path[] = "/tmp/trm-files-XXXXXX";
    (void)close(mkstemp(path));
    const float x[] = {1, -2, 3};
    const int32_t y[] = {7};
    trm_st_view v[] = {{"y", TRM_I32, 0, {0}, y, 4}, {"x", TRM_F32, 2, {3, 1}, x, 12}};
    const char *meta[1][2] = {{"config", "{\"a\":\"\\u00e9\"}"}};
    trm_st_file *f;
    trm_error err;
    assert_int_equal(trm_st_write(path, v, 2, meta, 1, &err), 0);
    assert_int_equal(trm_st_open(&f, path, &err), 0);
    assert_int_equal(trm_st_count(f), 2);
    assert_memory_equal(trm_st_find(f, "x")->data, x, sizeof x);
    assert_memory_equal(trm_st_find(f, "y")->data, y, sizeof y);
    assert_string_equal(trm_st_metadata(f, "config"), meta[0][1]);
    trm_st_close(f);
    (void)unlink(path);
}

static void test_a_pipe_is_written_to_and_a_link_stays_one(void **state) {
    (void)state;
    char folder[] = "/tmp/trm-files-XXXXXX", pipe[64], file[64], name[64];
    const float x[] = {1};
    char head[8];
    trm_st_view v = {"x", TRM_F32, 1, {1}, x, 4};
    struct stat st;
    trm_error err;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(pipe, sizeof pipe, "%s/pipe", folder);
    (void)snprintf(file, sizeof file, "%s/file", folder);
    (void)snprintf(name, sizeof name, "%s/name", folder);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    int fd = open(pipe, O_RDWR | O_NONBLOCK); /* a reader, so that the writer need not wait */
    assert_int_equal(trm_st_write(pipe, &v, 1, NULL, 0, &err), 0);
    assert_int_equal(read(fd, head, 8), 8);
    assert_int_equal(stat(pipe, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    (void)close(fd);

    assert_int_equal(trm_st_write(file, &v, 1, NULL, 0, &err), 0);
    assert_int_equal(symlink("file", name), 0);
    assert_int_equal(truncate(file, 0), 0);
    assert_int_equal(trm_st_write(name, &v, 1, NULL, 0, &err), 0);
    assert_int_equal(lstat(name, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(file, &st), 0);
    assert_true(st.st_size > 0);
    (void)unlink(pipe);
    (void)unlink(name);
    (void)unlink(file);
    (void)rmdir(folder);
}

static void test_full_disk_is_an_error_and_leaves_no_rubbish(void **state) {
    (void)state;
    const float x[] = {1};
    trm_st_view v = {"x", TRM_F32, 1, {1}, x, 4};
    trm_error err;
    assert_int_equal(trm_st_write("/dev/full/x", &v, 1, NULL, 0, &err), TRM_E_IO);
    assert_int_equal(trm_st_write("/nowhere/x.safetensors", &v, 1, NULL, 0, &err), TRM_E_IO);
    assert_non_null(strstr(err.text, "/nowhere/x.safetensors"));
}

static void import_equals_model(const char *name) {
    char path[512];
    trm_pt_file *f;
    trm_error err;
    trm_model *want = golden_model(name), *got = NULL;
    const trm_st_view *views[64];
    (void)snprintf(path, sizeof path, "%s/golden/%s/step_1000", TRM_TEST_DATA, name);
    if (trm_pt_open(&f, path, &err))
        fail_msg("%s", err.text);
    assert_in_range(trm_pt_count(f), 1, 64);
    for (int i = 0; i < trm_pt_count(f); i++)
        views[i] = trm_pt_at(f, i);
    if (trm_model_from_views(&got, &want->config, views, trm_pt_count(f), &err))
        fail_msg("%s", err.text);
    assert_string_equal(got->id, want->id);
    assert_memory_equal(got->w, want->w, want->layout.floats * sizeof(float));
    trm_model_free(got);
    trm_model_free(want);
    trm_pt_close(f);
}

static void test_checkpoints_import_exactly(void **state) {
    (void)state;
    import_equals_model("sudoku-mlp");
    import_equals_model("maze-attention");
}

/* Every truncation and many flipped bytes: refused or, where the byte does not matter, read;
 * never a crash (the sanitizer build is what makes this test sharp). */
static void test_damaged_checkpoints_never_crash(void **state) {
    (void)state;
    char path[512];
    size_t n;
    trm_pt_file *f;
    trm_error err;
    (void)snprintf(path, sizeof path, "%s/golden/maze-attention/step_1000", TRM_TEST_DATA);
    char *data = slurp(path, &n), *copy = malloc(n);
    assert_non_null(copy);
    for (size_t cut = 0; cut < n; cut += 9973)
        assert_int_not_equal(trm_pt_open_memory(&f, data, cut, "x", &err), 0);
    trm_rng rng;
    trm_rng_seed(&rng, 4);
    for (int i = 0; i < 300; i++) {
        memcpy(copy, data, n);
        /* the pickle at the front, or the directory at the end */
        size_t at = i % 2 ? trm_rng_below(&rng, 3300) : n - 1 - trm_rng_below(&rng, 1400);
        copy[at] = (char)trm_rng_next(&rng);
        if (trm_pt_open_memory(&f, copy, n, "x", &err) == 0)
            trm_pt_close(f);
    }
    free(copy);
    free(data);
}

/* Gives the pickle in a checkpoint's bytes the checksum that it has now. */
static void mend_checksum(char *data, size_t n) {
    char *entry = memmem(data, n, "PK\1\2", 4);
    assert_non_null(entry);
    const uint8_t *local = (const uint8_t *)data; /* data.pkl is the first entry */
    const uint8_t *at = local + 30 + (local[26] | local[27] << 8) + (local[28] | local[29] << 8);
    const uint8_t *size = (const uint8_t *)entry + 24;
    uint32_t left = size[0] | (uint32_t)size[1] << 8 | (uint32_t)size[2] << 16, crc = 0xFFFFFFFFu;
    for (; left; left--) {
        crc ^= *at++;
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? 0xEDB88320u ^ crc >> 1 : crc >> 1;
    }
    for (int i = 0; i < 4; i++)
        entry[16 + i] = (char)(~crc >> (8 * i));
}

static void test_pickle_that_runs_code_is_refused_by_name(void **state) {
    (void)state;
    char path[512];
    size_t n;
    trm_pt_file *f;
    trm_error err;
    (void)snprintf(path, sizeof path, "%s/golden/sudoku-mlp/step_1000", TRM_TEST_DATA);
    char *data = slurp(path, &n);
    mend_checksum(data, n);
    assert_int_equal(trm_pt_open_memory(&f, data, n, "x", &err), 0);
    trm_pt_close(f);
    char *at = memmem(data, n, "torch._utils\n_rebuild_tensor_v2", 31);
    assert_non_null(at);
    memcpy(at, "posix\nsystem_with_longer_name__", 31);
    assert_int_not_equal(trm_pt_open_memory(&f, data, n, "x", &err), 0);
    assert_non_null(strstr(err.text, "checksum"));
    mend_checksum(data, n);
    assert_int_not_equal(trm_pt_open_memory(&f, data, n, "x", &err), 0);
    if (!strstr(err.text, "posix.system"))
        fail_msg("%s", err.text);
    memcpy(at, "torch._utils\n_rebuild_tensor_v2", 31);
    at[-1] = 'i'; /* INST in place of GLOBAL */
    mend_checksum(data, n);
    assert_int_not_equal(trm_pt_open_memory(&f, data, n, "x", &err), 0);
    if (!strstr(err.text, "opcode 0x69"))
        fail_msg("%s", err.text);
    free(data);
}

static void test_wrong_models_are_refused_by_name(void **state) {
    (void)state;
    trm_model *m = golden_model("sudoku-mlp"), *other = NULL;
    trm_st_view views[64];
    const trm_st_view *list[64];
    trm_error err;
    int n = 0;
    for (int i = 0; i < m->layout.count; i++) {
        const trm_param *p = &m->layout.param[i];
        bool vector = p->role == TRM_W_H_INIT || p->role == TRM_W_L_INIT || p->role == TRM_W_Q_BIAS;
        views[n] = (trm_st_view){p->name, TRM_F32, vector ? 1 : 2, {p->rows, p->cols},
            m->w + p->offset, (size_t)p->rows * (size_t)p->cols * 4};
        if (vector)
            views[n].shape[0] = p->cols;
        list[n] = &views[n];
        n++;
    }
    assert_int_equal(trm_model_from_views(&other, &m->config, list, n, &err), 0);
    trm_model_free(other);
    assert_int_not_equal(trm_model_from_views(&other, &m->config, list, n - 1, &err), 0);
    assert_non_null(strstr(err.text, m->layout.param[n - 1].name));
    views[3].shape[1]++;
    assert_int_not_equal(trm_model_from_views(&other, &m->config, list, n, &err), 0);
    assert_non_null(strstr(err.text, views[3].name));
    views[3].shape[1]--;
    views[n] = (trm_st_view){"inner.surprise", TRM_F32, 1, {1}, m->w, 4};
    list[n] = &views[n];
    assert_int_not_equal(trm_model_from_views(&other, &m->config, list, n + 1, &err), 0);
    assert_non_null(strstr(err.text, "inner.surprise"));
    trm_model_free(m);
}

static void test_saved_models_come_back(void **state) {
    (void)state;
    static const trm_dtype types[] = {TRM_F32, TRM_BF16, TRM_I8};
    char path[] = "/tmp/trm-model-XXXXXX";
    (void)close(mkstemp(path));
    trm_model *m = golden_model("sudoku-mlp");
    for (int t = 0; t < 3; t++) {
        trm_model *back;
        trm_error err;
        double worst = 0;
        assert_int_equal(trm_model_save(m, path, types[t], &err), 0);
        if (trm_model_open(&back, path, NULL, &err))
            fail_msg("%s", err.text);
        for (size_t i = 0; i < m->layout.floats; i++) {
            double d = (double)m->w[i] - back->w[i];
            worst = d * d > worst * worst ? d : worst;
        }
        assert_true(t == 0 ? worst == 0 : worst * worst < 0.05 * 0.05);
        trm_model_free(back);
    }
    trm_model_free(m);
    (void)unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_safetensors_are_refused),
        cmocka_unit_test(test_write_and_read_back),
        cmocka_unit_test(test_a_pipe_is_written_to_and_a_link_stays_one),
        cmocka_unit_test(test_full_disk_is_an_error_and_leaves_no_rubbish),
        cmocka_unit_test(test_checkpoints_import_exactly),
        cmocka_unit_test(test_damaged_checkpoints_never_crash),
        cmocka_unit_test(test_pickle_that_runs_code_is_refused_by_name),
        cmocka_unit_test(test_wrong_models_are_refused_by_name),
        cmocka_unit_test(test_saved_models_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
