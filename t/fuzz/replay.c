/* replay: main of a fuzz target where libFuzzer is not linked. It runs the target on every file of its corpus,
 * t/fuzz/corpus/NOUN/ for t/fuzz/fuzz_NOUN, and on every beginning of each (a parser that reads past its input is found by
 * that, under AddressSanitizer at the exact byte). With file names as arguments it runs those: how a finding is repeated.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

#define INPUT_LIMIT (1024 * 1024)
#define BEGINNINGS_LIMIT 2048

/* The target gets memory of exactly the input's size, so that one byte too far is an error. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);

    if (!exact) {
        abort();
    }
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static int replay(const char *path, int number)
{
    uint8_t *data = malloc(INPUT_LIMIT);
    FILE *file = fopen(path, "rb");
    const char *name = strrchr(path, '/');
    size_t size;

    if (!file || !data) {
        printf("not ok %d - %s cannot be read\n", number, path);
        free(data);
        return 1;
    }
    size = fread(data, 1, INPUT_LIMIT, file);
    fclose(file);
    for (size_t n = 0; n < size && n < BEGINNINGS_LIMIT; n++) {
        run(data, n);
    }
    run(data, size);
    free(data);
    printf("ok %d - %s\n", number, name ? name + 1 : path);
    fflush(stdout);
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

__attribute__((unused)) static int replay_corpus(const char *program)
{
    const char *source = getenv("top_srcdir"), *noun = strstr(program, "fuzz_");
    struct dirent **entries;
    char path[4096];
    int n, failed = 0;

    while (noun && strstr(noun + 1, "fuzz_")) {
        noun = strstr(noun + 1, "fuzz_");
    }
    snprintf(path, sizeof(path), "%s/t/fuzz/corpus/%s", source ? source : MPX_SRCDIR, noun ? noun + 5 : "");
    n = scandir(path, &entries, visible, by_name);
    if (n <= 0) {
        printf("1..1\nnot ok 1 - no corpus in %s\n", path);
        return 1;
    }
    printf("1..%d\n", n);
    for (int i = 0; i < n; i++) {
        char file[8192];

        snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
        failed |= replay(file, i + 1);
        free(entries[i]);
    }
    free(entries);
    return failed;
}

#ifndef MPX_LIBFUZZER /* it brings its own */
int main(int argc, char **argv)
{
    int failed = 0;

    if (LLVMFuzzerInitialize) {
        LLVMFuzzerInitialize(&argc, &argv);
    }
    if (argc < 2) {
        return replay_corpus(argv[0]);
    }
    for (int i = 1; i < argc; i++) {
        failed |= replay(argv[i], i);
    }
    return failed;
}
#endif
