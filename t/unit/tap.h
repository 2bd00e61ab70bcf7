/* tap: main of a Check program. Under make check results are TAP on standard output (CK_TAP_LOG_FILE_NAME);
 * by hand they are Check's own text. CK_RUN_CASE=name runs one case, CK_FORK=no keeps it in one process.
 */
#ifndef MPX_TAP_H
#define MPX_TAP_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs a suite. @return the program's exit status; a failure that TAP has told of is not told again by it */
static inline int tap_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    setvbuf(stdout, NULL, _IOLBF, 0);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed && !getenv("CK_TAP_LOG_FILE_NAME") ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The seed of a property loop: MPX_SEED, else from the clock; printed, so that a failure can be repeated. */
static inline unsigned long long tap_seed(unsigned long long clock_us)
{
    const char *text = getenv("MPX_SEED");
    unsigned long long seed = text ? strtoull(text, NULL, 10) : clock_us;

    printf("# MPX_SEED=%llu\n", seed);
    fflush(stdout);
    return seed;
}

#endif
