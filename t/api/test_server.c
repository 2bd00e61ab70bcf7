/* Start, reload and health of a server whose only tenant is nobody: what holds before there is any data, or a schema. */
#include "harness.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Everything but migrations, which come in the course of the cases. */
static void up(void)
{
    h_pg_setup();
    h_sql("CREATE ROLE meterplex LOGIN");
    chmod(h_file("root.key", "0123456789abcdef0123456789abcdef"), 0600);
    h_main_httpd = h_httpd_make("main", 1, NULL);
    h_httpd_start(h_main_httpd);
}

static int ready(void)
{
    return h_get("/health/ready", NULL)->status == 200;
}

START_TEST(configuration_is_valid)
{
    h_output_t output = h_httpd_test(h_main_httpd);

    ck_assert_msg(output.status == 0, "httpd -t: %s", output.error);
}
END_TEST

/* A database that lets httpd in and has no schema is none that can be worked with. */
START_TEST(becomes_ready)
{
    H_WAIT(10, !ready());
    h_expect(h_get("/health/live", NULL), 200);
    ck_assert_ptr_nonnull(strstr(h_get("/health", NULL)->body, "meterplexctl doctor says more"));
    h_migrate();
    h_sql("GRANT meterplex_app TO meterplex");
    H_WAIT(10, ready());
    h_expect(h_get("/health", NULL), 200);
}
END_TEST

START_TEST(unknown_paths_are_problems_everywhere)
{
    h_expect_problem(h_get("/v1/nothing-of-the-kind", NULL), 404, "not_found");
    h_expect_problem(h_get("/no-file-of-that-name", NULL), 404, "not_found");
}
END_TEST

/* A child that ends with connections out would abort; the log is looked at when the program ends. */
START_TEST(graceful_restarts_leave_no_crash)
{
    for (int i = 0; i < 5; i++) {
        H_WAIT(10, ready());
        h_httpd_graceful(h_main_httpd);
        h_expect(h_get("/health/live", NULL), 200);
    }
}
END_TEST

START_TEST(starts_without_a_database_and_finds_it_later)
{
    h_httpd_stop(h_main_httpd);
    h_pg_stop(H_PG_FAST);
    h_httpd_start(h_main_httpd);
    h_expect(h_get("/health/live", NULL), 200);
    h_expect(h_get("/health/ready", NULL), 503);
    h_pg_start();
    H_WAIT(10, ready());
}
END_TEST

START_TEST(loses_the_database_and_finds_it_again)
{
    H_WAIT(10, ready());
    h_pg_stop(H_PG_IMMEDIATE);
    H_WAIT(5, !ready());
    h_pg_start();
    H_WAIT(10, ready());
}
END_TEST

/* A root key that others can read is refused, and the message names the directive and what to do. */
START_TEST(readable_root_key_is_refused)
{
    const char *key = h_format("%s/root.key", h_dir());
    h_output_t output;

    chmod(key, 0644);
    output = h_httpd_test(h_main_httpd);
    chmod(key, 0600);
    ck_assert_int_ne(output.status, 0);
    ck_assert_msg(strstr(output.error, "MeterplexKeyFile") && strstr(output.error, "0600"), "httpd -t: %s", output.error);
}
END_TEST

/* mod_dbd would start, and never have a connection to give. */
START_TEST(a_pool_that_cannot_be_is_refused)
{
    static const char *const sizes[] = { "DBDMax 2\n", "DBDKeep 9\n", "DBDMin 5\n", "DBDMax 0\nDBDKeep 0\n" };

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        h_output_t output;

        h_httpd_configure(h_main_httpd, sizes[i]);
        output = h_httpd_test(h_main_httpd);
        ck_assert_int_ne(output.status, 0);
        ck_assert_msg(strstr(output.error, "0 <= DBDMin <= DBDKeep <= DBDMax is needed") != NULL, "%s: %s", sizes[i],
                      output.error);
    }
    h_httpd_configure(h_main_httpd, NULL);
    ck_assert_int_eq(h_httpd_test(h_main_httpd).status, 0);
}
END_TEST

static void a_rival_is_refused(h_httpd_t *rival, const char *state)
{
    const char *told = h_format("MeterplexStateDir %s: another server is using it", state);

    rival->state = state;
    h_httpd_configure(rival, NULL);
    h_httpd_expect_log("another server is using it");
    h_httpd_try(rival);
    H_WAIT(10, h_httpd_logged(rival, told) && h_httpd_pid(rival) == 0);
}

/* A reload leads nowhere else: what is counted lies where it is. */
START_TEST(a_state_directory_has_one_server)
{
    const char *first = h_main_httpd->state, *second = h_format("%s/second", h_main_httpd->root);
    h_httpd_t *rival = h_httpd_make("rival", 1, NULL);

    a_rival_is_refused(rival, first);
    h_command((const char *[]){ "install", "-d", "-m", "0700", second, NULL }, NULL);
    h_main_httpd->state = second;
    h_httpd_configure(h_main_httpd, NULL);
    h_httpd_graceful(h_main_httpd);
    ck_assert(h_httpd_logged(h_main_httpd, h_format("%s stays in use until httpd is stopped and started", first)));
    ck_assert_ptr_null(h_read_file(h_format("%s/node.id", second)));
    a_rival_is_refused(rival, first);
    h_httpd_stop(h_main_httpd);
    h_httpd_start(h_main_httpd);
    ck_assert_ptr_nonnull(h_read_file(h_format("%s/node.id", second)));
    a_rival_is_refused(rival, second);
    h_main_httpd->state = first;
    h_httpd_configure(h_main_httpd, NULL);
    h_httpd_stop(h_main_httpd);
    h_httpd_start(rival);
    h_httpd_stop(rival);
    h_httpd_start(h_main_httpd);
}
END_TEST

/* httpd -t refuses the state directory, with a line that names it and has the text; so does meterplexctl doctor, and the
 * start. */
static void state_is_refused(h_httpd_t *httpd, const char *text)
{
    h_output_t output = h_httpd_test(httpd);
    const char *line = h_format("MeterplexStateDir %s: %s", httpd->state, text);

    ck_assert_int_ne(output.status, 0);
    ck_assert_msg(strstr(output.error, line) != NULL, "not in httpd -t: %s\n%s", line, output.error);
    output = h_ctl("doctor", "--state-dir", httpd->state, NULL);
    line = h_format("wrong   state directory  %s: %s", httpd->state, text);
    ck_assert_msg(strstr(output.text, line) != NULL, "not in doctor: %s\n%s", line, output.text);
    ck_assert_int_ne(h_httpd_try(httpd).status, 0);
    ck_assert_int_eq(h_httpd_pid(httpd), 0);
}

static void state_is_accepted(h_httpd_t *httpd)
{
    h_output_t output = h_httpd_test(httpd);

    ck_assert_msg(output.status == 0, "httpd -t: %s", output.error);
    output = h_ctl("doctor", "--state-dir", httpd->state, NULL);
    ck_assert_msg(strstr(output.text, h_format("ok      state directory  %s\n", httpd->state)) != NULL, "%s", output.text);
}

START_TEST(a_state_directory_that_others_can_change_is_refused)
{
    static const mode_t open_to_others[] = { 0770, 0702, 01777 };
    h_httpd_t *httpd = h_httpd_make("owned", 1, NULL);
    const char *made = httpd->state;

    for (size_t i = 0; i < sizeof open_to_others / sizeof *open_to_others; i++) {
        const char *told = h_format("its mode is %04o; others can change what is in it: chmod 0700 %s",
                                    (unsigned)open_to_others[i], made);
        ck_assert_int_eq(chmod(made, open_to_others[i]), 0);
        state_is_refused(httpd, told);
    }
    chmod(made, 0755);
    state_is_accepted(httpd);
    chmod(made, 0700);
    state_is_accepted(httpd);
    if (geteuid() == 0) { /* nobody else can give a directory away */
        h_command((const char *[]){ "chown", "www-data", made, NULL }, NULL);
        state_is_refused(httpd, h_format("it belongs to user www-data, and must belong to the user who starts httpd, or to "
                                         "root: chown root %s",
                                         made));
        h_command((const char *[]){ "chown", "root", made, NULL }, NULL);
    }
    httpd->state = h_format("%s/nowhere", httpd->root);
    h_httpd_configure(httpd, NULL);
    state_is_refused(httpd, "there is no such directory; make it: install -d -m 0700 ");
    httpd->state = h_file(h_format("%s/file", httpd->root), "");
    h_httpd_configure(httpd, NULL);
    state_is_refused(httpd, "it is not a directory");
}
END_TEST

/* The configuration is right, and the start ends with a line of this text. */
static void start_is_refused(h_httpd_t *httpd, const char *text)
{
    unlink(httpd->log); /* what earlier starts told */
    h_httpd_try(httpd);
    H_WAIT(10, h_httpd_logged(httpd, text) && h_httpd_pid(httpd) == 0);
    h_httpd_stop(httpd); /* what is left of it holds the lock */
}

/* What a link leads to is not written, nor made. The names in the order in which a start uses them. */
START_TEST(links_in_the_state_directory_are_refused)
{
    static const char *const names[] = { "lock", "node.id.part", "node.id", "counters.part", "counters" };
    h_httpd_t *httpd = h_httpd_make("links", 1, NULL);
    const char *file = h_file(h_format("%s/victim", httpd->root), "mine"), *nowhere = h_format("%s/nowhere", httpd->root);

    h_httpd_expect_log("it is a symbolic link");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *link = h_format("%s/%s", httpd->state, names[i]);
        const char *told = h_format("%s: it is a symbolic link; put the file itself there", names[i]);

        ck_assert_int_eq(symlink(file, link), 0);
        start_is_refused(httpd, told);
        ck_assert_int_eq(unlink(link), 0);
        ck_assert_int_eq(symlink(nowhere, link), 0);
        start_is_refused(httpd, told);
        ck_assert_int_eq(unlink(link), 0);
    }
    ck_assert_str_eq(h_read_file(file), "mine");
    ck_assert_int_ne(access(nowhere, F_OK), 0);
    h_httpd_start(httpd);
    h_httpd_stop(httpd);
}
END_TEST

START_TEST(an_empty_counter_file_is_refused_as_a_damaged_one)
{
    h_httpd_t *httpd = h_httpd_make("empty", 1, NULL);
    const char *counters = h_file(h_format("%s/counters", httpd->state), "");
    const char *told = h_format("%s: it is not a counter file of this version; keep it aside for its counts and start with "
                                "a new one",
                                counters);

    h_httpd_expect_log(told);
    start_is_refused(httpd, told);
    ck_assert_int_eq(unlink(counters), 0);
    h_httpd_start(httpd);
    h_httpd_stop(httpd);
}
END_TEST

START_TEST(a_fifo_in_the_state_directory_holds_nothing_up)
{
    h_httpd_t *httpd = h_httpd_make("fifo", 1, NULL);
    const char *fifo = h_format("%s/node.id", httpd->state);

    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    h_httpd_expect_log("node.id: it is not a regular file");
    start_is_refused(httpd, "node.id: it is not a regular file");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server");
    TCase *tcase = tcase_create("server");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, configuration_is_valid);
    tcase_add_test(tcase, becomes_ready);
    tcase_add_test(tcase, unknown_paths_are_problems_everywhere);
    tcase_add_test(tcase, graceful_restarts_leave_no_crash);
    tcase_add_test(tcase, starts_without_a_database_and_finds_it_later);
    tcase_add_test(tcase, loses_the_database_and_finds_it_again);
    tcase_add_test(tcase, readable_root_key_is_refused);
    tcase_add_test(tcase, a_pool_that_cannot_be_is_refused);
    tcase_add_test(tcase, a_state_directory_has_one_server);
    tcase_add_test(tcase, a_state_directory_that_others_can_change_is_refused);
    tcase_add_test(tcase, links_in_the_state_directory_are_refused);
    tcase_add_test(tcase, an_empty_counter_file_is_refused_as_a_damaged_one);
    tcase_add_test(tcase, a_fifo_in_the_state_directory_holds_nothing_up);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
