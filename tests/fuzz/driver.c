/* Runs a fuzz target over every file of the folders named: a corpus as a regression test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *folder, const char *name) {
    static uint8_t data[1 << 22];
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    size_t n = fread(data, 1, sizeof data, f);
    (void)fclose(f);
    (void)LLVMFuzzerTestOneInput(data, n);
    return 1;
}

int main(int argc, char **argv) {
    int n = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d) {
            fprintf(stderr, "%s: cannot be opened\n", argv[i]);
            return 2;
        }
        for (struct dirent *e; (e = readdir(d));)
            if (e->d_name[0] != '.')
                n += run_file(argv[i], e->d_name);
        (void)closedir(d);
    }
    printf("%d inputs\n", n);
    return n > 0 ? 0 : 1;
}
