/* h_main: a test program from begin to end, and the application set up once for it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

static int in_suite; /* set while Check runs: a failure is then the failure of a case */
static const char *key_file;
static const char *admin_key;

/* In a build with sanitizers: strings of the harness live until the process ends; it is httpd and meterplexctl whose leaks
 * are looked for. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

void h_fail(const char *format, ...)
{
    va_list arguments;
    char *message = NULL;

    va_start(arguments, format);
    if (vasprintf(&message, format, arguments) < 0) {
        abort();
    }
    va_end(arguments);
    h_print_logs();
    if (in_suite) {
        h_file("logs-were-printed", "");
        ck_abort_msg("%s", message);
    }
    printf("Bail out! %s\n", message);
    fflush(stdout);
    h_end();
    exit(EXIT_FAILURE);
}

const char *h_key_file(void)
{
    return key_file ? key_file : h_format("%s/root.key", h_dir());
}

const char *h_admin_key(void)
{
    return admin_key;
}

/* --- Cases that cannot run here ------------------------------------------------------------------------------------------ */

/* Check compiles START_TEST(name) as name_fn(). */
void h_skip_at(const char *function, const char *reason)
{
    const char *path = h_format("%s/skipped", h_dir());
    const char *before = h_read_file(path);

    h_file("skipped", h_format("%s:%.*s: %s\n", before ? before : "", (int)strlen(function) - 3, function, reason));
}

/* Check knows no skips: its TAP is written to a file, and shown with "# SKIP reason" at the end of such a case's line.
 * @param tap what Check wrote */
static void show_tap(const char *tap)
{
    const char *skipped = h_read_file(h_format("%s/skipped", h_dir()));
    char *lines = h_format("%s", tap), *state = NULL;

    for (char *line = strtok_r(lines, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        const char *suffix = line + strlen(line) > line + 8 ? line + strlen(line) - 8 : line;
        const char *name = NULL, *reason = NULL;

        /* "ok 3 - file.c:case:name: Passed" */
        if (skipped && !strncmp(line, "ok ", 3) && !strcmp(suffix, ": Passed")) {
            name = suffix;
            while (name > line && name[-1] != ':') {
                name--;
            }
            reason = strstr(skipped, h_format(":%.*s: ", (int)(suffix - name), name));
        }
        if (reason) {
            reason += suffix - name + 3;
            printf("%.*s # SKIP %.*s\n", (int)(suffix - line), line, (int)strcspn(reason, "\n"), reason);
        }
        else {
            printf("%s\n", line);
        }
    }
}

/* --- meterplexctl -------------------------------------------------------------------------------------------------------- */

static h_output_t run_ctl(const char *first, va_list more)
{
    const char *build = getenv("top_builddir");
    const char *argv[64] = { h_format("%s/meterplexctl", build ? build : MPX_BUILDDIR), first };
    h_spawn_t spawn = { .argv = argv };
    h_output_t output;
    int n = 2;

    while (n < 63 && (argv[n] = va_arg(more, const char *))) {
        n++;
    }
    argv[n] = NULL;
    h_spawn(&spawn, &output);
    return output;
}

h_output_t h_ctl(const char *argument, ...)
{
    va_list more;
    h_output_t output;

    va_start(more, argument);
    output = run_ctl(argument, more);
    va_end(more);
    return output;
}

const char *h_ctl_ok(const char *argument, ...)
{
    va_list more;
    h_output_t output;

    va_start(more, argument);
    output = run_ctl(argument, more);
    va_end(more);
    if (output.status) {
        h_fail("meterplexctl %s: exit status %d\n%s%s", argument, output.status, output.text, output.error);
    }
    return output.text;
}

/* The first word in text that begins with prefix. */
static const char *find_word(const char *text, const char *prefix)
{
    const char *found = strstr(text, prefix);
    size_t n = found ? strspn(found, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") : 0;

    return found ? h_format("%.*s", (int)n, found) : NULL;
}

void h_migrate(void)
{
    const char *source = getenv("top_srcdir");

    h_ctl_ok("migrate", "--database", h_pg_url("postgres"), "--migrations",
             h_format("%s/migrations", source ? source : MPX_SRCDIR), NULL);
}

void h_app_setup(void)
{
    const char *bootstrapped;

    h_migrate();
    h_sql("CREATE ROLE meterplex LOGIN IN ROLE meterplex_app");
    key_file = h_key_file();
    h_ctl_ok("keygen", key_file, NULL);
    bootstrapped = h_ctl_ok("bootstrap", "--database", h_pg_url("meterplex"), "--key-file", key_file, NULL);
    admin_key = find_word(bootstrapped, "mpx_live_");
    if (!admin_key) {
        h_fail("meterplexctl bootstrap printed no API key");
    }
}

void h_up_stopped(const char *conf)
{
    h_pg_setup();
    h_app_setup();
    h_main_httpd = h_httpd_make("main", 1, conf);
}

void h_up(const char *conf)
{
    h_up_stopped(conf);
    h_httpd_start(h_main_httpd);
}

/* --- Tenants and keys ------------------------------------------------------------------------------------------------------ */

const char *h_tenant(const char *slug)
{
    const h_response_t *response =
        h_post("/v1/tenants", admin_key, h_format("{\"name\":\"Tenant %s\",\"slug\":\"%s\"}", slug, slug));

    h_expect(response, 201);
    return h_json_text(response, "/id");
}

const char *h_key(const char *tenant, const char *scopes, const char *more, const char **id)
{
    json_t *list = json_array();
    char *words = h_format("%s", scopes), *state = NULL;
    const h_response_t *response;

    for (char *word = strtok_r(words, " ", &state); word; word = strtok_r(NULL, " ", &state)) {
        json_array_append_new(list, json_string(word));
    }
    response = h_post(h_format("/v1/tenants/%s/api-keys", tenant), admin_key,
                      h_format("{\"name\":\"test\",\"scopes\":%s%s%s}", json_dumps(list, JSON_COMPACT), more ? "," : "",
                               more ? more : ""));
    h_expect(response, 201);
    if (id) {
        *id = h_json_text(response, "/id");
    }
    return h_json_text(response, "/secret");
}

/* --- The program ------------------------------------------------------------------------------------------------------------- */

int h_run(Suite *suite, void (*up)(void))
{
    const char *tap_to = getenv("CK_TAP_LOG_FILE_NAME"), *tap = NULL;
    SRunner *runner;
    int failed, alarming;

    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(022);
    h_begin();
    up();
    in_suite = 1;
    runner = srunner_create(suite);
    if (tap_to && !strcmp(tap_to, "-")) {
        tap = h_format("%s/cases.tap", h_dir());
        srunner_set_tap(runner, tap);
    }
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    in_suite = 0;
    if (tap) {
        const char *text = h_read_file(tap);
        show_tap(text ? text : "Bail out! Check wrote no results");
    }
    /* an assertion of Check's own cannot print them */
    if (failed && !h_read_file(h_format("%s/logs-were-printed", h_dir()))) {
        h_print_logs();
    }
    h_httpd_end_all(); /* what a sanitizer finds at the end is in the log then */
    alarming = h_alarming_logs();
    h_end();
    /* a failure that TAP has told of is not told again by the exit status */
    return alarming || (failed && !tap_to) ? EXIT_FAILURE : EXIT_SUCCESS;
}
