/* mpx_cells under a scheduler of our own: a few tasks charge, refund, sleep between any two instructions that others can
 * see, and some are killed there. Whatever the order, a key has one cell at the most, and its limit holds. POSIX has given
 * up the functions for contexts, and glibc has not. Each time other orders are tried: some mistakes need more runs than one
 * test has. */
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <apr_general.h>
#include <sodium.h>

#include "tap.h"

/* Each access to shared memory is a place to be put aside at; what is between two of them nobody else can see. */
static void pause_here(void);
#define __atomic_load_n(at, order) (pause_here(), *(at))
#define __sync_bool_compare_and_swap(at, expected, fresh) \
    (pause_here(), *(at) == (expected) ? (*(at) = (fresh), 1) : 0)
#define CELLS_IN_BUCKET 3 /* so few that they change hands */
#include "mpx_cells.c"
#undef __atomic_load_n
#undef __sync_bool_compare_and_swap

#define NOW APR_UINT64_C(1000000000000)

enum { TASKS = 5,
       RUNS = 5000,
       STEPS_MAX = 20000, /* of a run, after which it is taken for one without an end */
       STACK = 65536 };

static const char *const keys[] = { "the one", "another", "a third", "a fourth" };
/* once a day; the others' cells say nothing any more after ten nanoseconds */
static const mpx_rate_t daily = { 1, 86400, 1 }, brief = { 100000000, 1, 1 };

typedef struct task {
    ucontext_t context;
    apr_uint64_t now; /* its clock, read when it began */
    int over;
} task_t;

static mpx_cells_t *cells;
static task_t tasks[TASKS];
static char stacks[TASKS][STACK];
static ucontext_t scheduler;
static int current = -1, admitted;

static void pause_here(void)
{
    if (current >= 0) {
        /* cppcheck-suppress swapcontextCalled */
        swapcontext(&tasks[current].context, &scheduler);
    }
}

static void charge_the_one(apr_uint64_t now)
{
    mpx_gcra_t g;
    admitted += mpx_cells_charge(cells, keys[0], strlen(keys[0]), &daily, now, 1, &g) && g.allowed;
}

static void charge_another(apr_uint64_t now)
{
    const char *key = keys[1 + random() % 3];
    mpx_gcra_t g;

    if (mpx_cells_charge(cells, key, strlen(key), &brief, now, 1, &g) && g.allowed && random() % 2) {
        mpx_cells_refund(cells, key, strlen(key), &brief, 1);
    }
}

static void work(void)
{
    task_t *task = &tasks[current];

    for (int n = 1 + (int)(random() % 3); n > 0; n--) {
        if (random() % 2) {
            charge_the_one(task->now);
        }
        else {
            charge_another(task->now);
        }
    }
    task->over = 1;
    pause_here(); /* and is never gone on with */
}

static void begin_task(task_t *task)
{
    task->now = NOW + (apr_uint64_t)(random() % 6) * 10;
    task->over = 0;
    /* cppcheck-suppress getcontextCalled */
    getcontext(&task->context);
    task->context.uc_stack.ss_sp = stacks[task - tasks];
    task->context.uc_stack.ss_size = STACK;
    task->context.uc_link = NULL;
    /* cppcheck-suppress makecontextCalled */
    makecontext(&task->context, work, 0);
}

static int cells_of(const char *key)
{
    apr_uint64_t print;
    const bucket_t *bucket = place(cells, key, strlen(key), &print);
    int n = 0;

    for (int i = 0; i < CELLS_IN_BUCKET; i++) {
        n += bucket->cells[i].is.print == print;
    }
    return n;
}

/* @return the task that goes on: the same for a while, then any; -1 when all are over */
static int next_task(int last)
{
    int alive[TASKS] = { 0 }, n = 0;

    for (int i = 0; i < TASKS; i++) {
        if (!tasks[i].over) {
            alive[n++] = i;
        }
    }
    return n == 0 ? -1 : last >= 0 && !tasks[last].over && random() % 4 ? last
                                                                        : alive[random() % n];
}

static void run(int number, void *memory, size_t size)
{
    static const unsigned char secret[MPX_CELLS_SECRET] = "a secret of test";
    int last = -1, steps = 0;

    memset(memory, 0, size);
    cells = mpx_cells_format(memory, size, secret);
    admitted = 0;
    for (int i = 0; i < 2; i++) { /* cells that somebody had, and may come back to */
        charge_another(NOW - 15 + (apr_uint64_t)(random() % 3) * 10);
    }
    for (int i = 0; i < TASKS; i++) {
        begin_task(&tasks[i]);
    }
    while ((last = next_task(last)) >= 0) {
        current = last;
        /* cppcheck-suppress swapcontextCalled */
        swapcontext(&scheduler, &tasks[last].context);
        current = -1;
        tasks[last].over |= random() % 400 == 0; /* killed */
        ck_assert_msg(cells_of(keys[0]) <= 1, "run %d, step %d: a key has %d cells", number, steps, cells_of(keys[0]));
        ck_assert_msg(admitted <= 1, "run %d, step %d: one a day, and %d passed", number, steps, admitted);
        ck_assert_msg(++steps < STEPS_MAX, "run %d has no end", number);
    }
}

START_TEST(whatever_the_order_a_limit_holds)
{
    size_t size = sizeof(mpx_cells_t) + sizeof(bucket_t);
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

    srandom((unsigned)tap_seed((unsigned long long)apr_time_now()));
    for (int i = 0; i < RUNS; i++) {
        run(i, memory, size);
    }
    free(memory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("interleavings");
    TCase *tcase = tcase_create("interleavings");

    apr_initialize();
    if (sodium_init() < 0) {
        return 1;
    }
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, whatever_the_order_a_limit_holds);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
