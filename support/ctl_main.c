/* ctl_main.c: meterplexctl: the operator's command line. Finds the command, reads the environment, runs it. */
#include "ctl.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <sodium.h>

#include "config.h"

static void print_commands(FILE *out)
{
    const ctl_command_t *c;

    fputs("usage: meterplexctl [OPTIONS] COMMAND [ARGUMENTS]\n\ncommands:\n", out);
    for (c = ctl_commands; c->name; c++) {
        fprintf(out, "  %-16s %s\n", c->name, c->summary);
    }
    fputs("\noptions of every command:\n"
          "  --database URL   PostgreSQL, as URI or key=value text; or METERPLEX_DATABASE_URL\n"
          "  --key-file FILE  the root key; or METERPLEX_KEY_FILE\n"
          "  --state-dir DIR  the server's state directory; or METERPLEX_STATE_DIR\n"
          "  --json           the answer as JSON\n"
          "  --help, --version\n"
          "\nexit status: 0 done, 1 failed, 2 the command line is wrong\n",
          out);
}

static int print_help(const ctl_t *ctl)
{
    const ctl_command_t *c = ctl->command;

    if (c == NULL) {
        print_commands(stdout);
    }
    else {
        printf("usage: meterplexctl %s%s%s\n\n%s\n%s%s", c->name, *c->synopsis ? " " : "", c->synopsis, c->summary,
               *c->help ? "\n" : "", c->help);
    }
    return ctl_flush(CTL_OK);
}

/* Does an option of every command take the next argument as its value? */
static int takes_value(const char *option)
{
    return strcmp(option, "--database") == 0 || strcmp(option, "--key-file") == 0 || strcmp(option, "--state-dir") == 0;
}

/* Take the words of the command's name out of argv; what is left, in order, goes to it. @return how many are left, or -1 */
static int find_command(ctl_t *ctl, int argc, const char *const *argv, const char **left)
{
    const char *words[2] = { NULL, NULL };
    const ctl_command_t *c;
    int at[2] = { 0, 0 }, nwords = 0, i, n = 0;

    for (i = 1; i < argc && nwords < 2; i++) {
        if (argv[i][0] != '-') {
            at[nwords] = i;
            words[nwords++] = argv[i];
        }
        else if (nwords) {
            break; /* "tenant create" stands together */
        }
        else {
            i += takes_value(argv[i]);
        }
    }
    for (c = ctl_commands; nwords && c->name; c++) {
        const char *second = strchr(c->name, ' ');
        apr_size_t len = second ? (apr_size_t)(second - c->name) : strlen(c->name);
        if (strlen(words[0]) == len && strncmp(c->name, words[0], len) == 0
            && (second == NULL || (nwords == 2 && strcmp(second + 1, words[1]) == 0))) {
            ctl->command = c;
            nwords = second ? 2 : 1;
            break;
        }
    }
    if (ctl->command == NULL) {
        left[0] = words[0];
        left[1] = words[1];
        return -1;
    }
    for (i = 1; i < argc; i++) {
        if (i != at[0] && (nwords < 2 || i != at[1])) {
            left[n++] = argv[i];
        }
    }
    return n;
}

static int has(int argc, const char *const *argv, const char *option)
{
    int i;
    for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], option) == 0) {
            return 1;
        }
    }
    return 0;
}

/* "key" alone, or "key foo": say what there is. */
static int unknown(const ctl_t *ctl, const char *first, const char *second)
{
    const ctl_command_t *c;
    const char *list = NULL;

    for (c = ctl_commands; first && c->name; c++) {
        if (strncmp(c->name, first, strlen(first)) == 0 && c->name[strlen(first)] == ' ') {
            list = apr_pstrcat(ctl->pool, list ? list : "", list ? ", " : "", c->name, NULL);
        }
    }
    if (list) {
        return ctl_usage(ctl, "\"%s%s%s\" is no command; there are: %s", first, second ? " " : "", second ? second : "",
                         list);
    }
    return first ? ctl_usage(ctl, "\"%s\" is no command", first) : ctl_usage(ctl, "a command is missing");
}

static int run(ctl_t *ctl, int argc, const char *const *argv)
{
    const char **left = apr_pcalloc(ctl->pool, ((apr_size_t)argc + 2) * sizeof *left);
    int n = find_command(ctl, argc, argv, left);

    if (has(argc, argv, "--help") || has(argc, argv, "-h")) {
        return print_help(ctl);
    }
    if (has(argc, argv, "--version")) {
        printf("meterplexctl %s\n", PACKAGE_VERSION);
        return ctl_flush(CTL_OK);
    }
    if (n < 0) {
        return unknown(ctl, left[0], left[1]);
    }
    return ctl_flush(ctl->command->run(ctl, n, left));
}

static const char *make_run_id(apr_pool_t *pool)
{
    unsigned char random[8];
    char hex[2 * sizeof random + 1];

    randombytes_buf(random, sizeof random);
    return apr_pstrcat(pool, "ctl-", sodium_bin2hex(hex, sizeof hex, random, sizeof random), NULL);
}

int main(int argc, const char *const *argv)
{
    static ctl_t ctl;
    int rv;

    setlocale(LC_CTYPE, "C");
    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&ctl.pool, NULL) != APR_SUCCESS || sodium_init() < 0) {
        return ctl_fail("APR or libsodium cannot be initialised");
    }
    ctl.database = getenv("METERPLEX_DATABASE_URL");
    ctl.key_file = getenv("METERPLEX_KEY_FILE");
    ctl.state_dir = getenv("METERPLEX_STATE_DIR");
    ctl.operator.kind = MPX_PRINCIPAL_SYSTEM;
    ctl.operator.scopes = "";
    ctl.run_id = make_run_id(ctl.pool);
    rv = run(&ctl, argc, argv);
    apr_pool_destroy(ctl.pool);
    apr_terminate();
    return rv;
}
