/* The harness itself: what the other programs rest on. A plain httpd, a cluster, graceful, kill and log tail. */
#include "harness.h"

#include <signal.h>
#include <string.h>

static h_httpd_t *plain;

static void up(void)
{
    h_pg_setup();
    plain = h_httpd_make("plain", 0, "Redirect 302 /moved /index.html");
    h_httpd_start(plain);
}

static h_request_t get(const char *path)
{
    return (h_request_t){ .httpd = plain, .path = path };
}

START_TEST(answers_are_read)
{
    h_request_t request = get("/index.html");
    const h_response_t *response = h_send(&request);

    h_expect(response, 200);
    ck_assert_str_eq(response->body, "it works\n");
    request = get("/moved");
    response = h_send(&request);
    h_expect(response, 302);
    ck_assert_ptr_nonnull(strstr(h_header(response, "location"), "/index.html"));
    request = get("/nothing");
    h_expect(h_send(&request), 404);
}
END_TEST

START_TEST(raw_bytes_are_sent)
{
    static const char bytes[] = "GET /index.html HTTP/1.0\r\n\r\n";

    ck_assert_ptr_nonnull(strstr(h_raw(plain, bytes, sizeof(bytes) - 1, 5), "it works"));
}
END_TEST

START_TEST(graceful_makes_a_new_generation)
{
    pid_t parent = h_httpd_pid(plain);
    h_request_t request = get("/new");

    h_httpd_configure(plain, "Redirect 302 /new /index.html");
    h_httpd_graceful(plain);
    ck_assert_int_eq(h_httpd_pid(plain), parent);
    h_expect(h_send(&request), 302);
}
END_TEST

START_TEST(killed_processes_come_back)
{
    pid_t parent = h_httpd_pid(plain);
    h_request_t request = get("/index.html");

    h_httpd_kill_child(plain);
    H_WAIT(10, h_send(&request)->status == 200);
    ck_assert_int_eq(h_httpd_pid(plain), parent);
    h_httpd_kill(plain);
    ck_assert_int_eq(h_httpd_pid(plain), 0);
    ck_assert_int_eq(h_send(&request)->status, 0);
    h_httpd_start(plain);
    h_expect(h_send(&request), 200);
    ck_assert_int_ne(h_httpd_pid(plain), parent);
}
END_TEST

START_TEST(postgresql_stops_and_starts)
{
    ck_assert_str_eq(h_sql("SELECT %d", 42), "42");
    ck_assert_str_eq(h_sql_state("postgres", "SELECT 1/0"), "22012");
    h_pg_stop(H_PG_IMMEDIATE);
    ck_assert_int_eq(h_pg_pid(), 0);
    h_pg_start();
    ck_assert_str_eq(h_sql("SELECT 7"), "7");
}
END_TEST

START_TEST(json_pointers_are_followed)
{
    h_response_t response = { .body = "{\"a\":[{\"b/c\":\"x\"},true]}", .headers = (const char *[]){ NULL }, .what = "-" };

    response.body_len = strlen(response.body);
    ck_assert_str_eq(h_json_text(&response, "/a/0/b~1c"), "x");
    ck_assert_str_eq(h_json_text(&response, "/a/1"), "true");
    ck_assert_ptr_null(h_json_text(&response, "/a/2"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("harness");
    TCase *tcase = tcase_create("harness");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, answers_are_read);
    tcase_add_test(tcase, raw_bytes_are_sent);
    tcase_add_test(tcase, graceful_makes_a_new_generation);
    tcase_add_test(tcase, killed_processes_come_back);
    tcase_add_test(tcase, postgresql_stops_and_starts);
    tcase_add_test(tcase, json_pointers_are_followed);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
