/* ctl_commands.c: the list of commands and their help. */
#include "ctl.h"

const ctl_command_t ctl_commands[] = {
    { "migrate", "[--dir DIR] [--dry-run] [--wait SECONDS] [--lock-timeout SECONDS]",
      "bring the schema of the database up to date",
      "  --dir DIR               where the migrations lie (--migrations says the same)\n"
      "  --dry-run               say what would run\n"
      "  --wait SECONDS          for another migrate on this database to end (60)\n"
      "  --lock-timeout SECONDS  for a table that is in use (10)\n"
      "\n"
      "Connect as superuser, as owner of the database or as a member of meterplex_owner. Repeating it is harmless.\n"
      "\n"
      "  meterplexctl migrate --database postgresql://postgres@127.0.0.1/meterplex\n",
      ctl_migrate },
    { "keygen", "FILE", "make a root key",
      "32 random bytes, mode 0600; a file that exists is never overwritten.\n"
      "\n"
      "  meterplexctl keygen /etc/meterplex/root.key\n",
      ctl_keygen },
    { "bootstrap", "[--new-root-key]", "make the first platform administrator",
      "  --new-root-key  the root key that this installation had is lost: begin anew with this one. No API key made\n"
      "                  with the lost one is known any more; the platform administrator gets another\n"
      "\n"
      "Prints the API key, this once; refuses when there is a platform administrator already.\n"
      "\n"
      "  meterplexctl bootstrap --key-file /etc/meterplex/root.key\n",
      ctl_bootstrap },
    { "tenant create", "--slug SLUG [--name NAME]", "make a tenant and print its id",
      "  meterplexctl tenant create --slug acme --name \"Acme Ltd\"\n", ctl_tenant_create },
    { "tenant list", "", "list the tenants", "  meterplexctl tenant list --json\n", ctl_tenant_list },
    { "tenant suspend", "TENANT", "stop a tenant's keys, on every node within a second",
      "TENANT is an id (ten_...) or a slug.\n\n  meterplexctl tenant suspend acme\n", ctl_tenant_suspend },
    { "tenant activate", "TENANT", "let a suspended tenant's keys in again",
      "TENANT is an id (ten_...) or a slug.\n\n  meterplexctl tenant activate acme\n", ctl_tenant_activate },
    { "key create", "--tenant TENANT --name NAME [--scope SCOPE]... [OPTIONS]", "make an API key and print its secret",
      "  --scope SCOPE   weather:read, ...; repeated, or several between blanks\n"
      "  --expires TIME  2030-01-31T12:00:00Z\n"
      "  --rate RATE     its own limit: 100/s, 1000/min, 5/h, 10/d\n"
      "  --burst N       how many pass at once from rest (as --rate)\n"
      "  --cidr BLOCK    addresses that it may be used from; repeated\n"
      "  --env ENV       live (default) or test\n"
      "\n"
      "  meterplexctl key create --tenant acme --name \"web shop\" --scope weather:read --rate 100/s\n",
      ctl_key_create },
    { "key list", "--tenant TENANT", "list a tenant's keys", "  meterplexctl key list --tenant acme\n", ctl_key_list },
    { "key rotate", "--tenant TENANT [--grace SECONDS] KEY", "give a key a new secret",
      "  --grace SECONDS  how long the old secret stays good (0)\n"
      "\n"
      "  meterplexctl key rotate --tenant acme --grace 3600 key_01jd3v6q8efpwv2m4n5x7y9z0a\n",
      ctl_key_rotate },
    { "key revoke", "--tenant TENANT KEY", "end a key, on every node within a second",
      "  meterplexctl key revoke --tenant acme key_01jd3v6q8efpwv2m4n5x7y9z0a\n", ctl_key_revoke },
    { "import", "--format FORMAT --tenant TENANT [OPTIONS] FILE...", "usage out of existing access logs",
      "  --format FORMAT  common, combined or vhost_combined\n"
      "  --tenant TENANT  an id (ten_...) or a slug\n"
      "  --source NAME    give each of several servers' logs one of its own, and keep it\n"
      "  --type TYPE      of the events (http.request)\n"
      "  --strict         malformed lines make the exit status 1\n"
      "  --show-all       show every malformed or cut line, not the first 20\n"
      "  --unfinished     take a last line that does not end, too\n"
      "\n"
      "Each line is one event. Repeating an import changes nothing; of a file that has grown, the new lines are added. "
      "\"-\" is\n"
      "standard input: zcat access.log.2.gz | meterplexctl import --format combined --tenant acme -\n",
      ctl_import },
    { "doctor", "[--httpd FILE] [--conf FILE] [--modules DIR] [--dir DIR]", "check the installation and say what to do",
      "  --httpd FILE   the server's program\n"
      "  --conf FILE    its configuration, when it is not the one that it takes by itself (METERPLEX_HTTPD_CONF)\n"
      "  --modules DIR  where its modules lie\n"
      "  --dir DIR      where the migrations lie\n"
      "\n"
      "Give --database as httpd has it in DBDParams: what its role may do is what is checked.\n"
      "\n"
      "  meterplexctl doctor --database \"host=/run/postgresql dbname=meterplex user=meterplex\" \\\n"
      "      --key-file /etc/meterplex/root.key --state-dir /var/lib/meterplex\n",
      ctl_doctor },
    { "status", "[--tenants] [--url URL]", "show what there is: schema, tenants, keys, events",
      "  --tenants  a line for each tenant\n"
      "  --url URL  is httpd there? http://host:port\n"
      "\n"
      "  meterplexctl status --url http://127.0.0.1:8080\n",
      ctl_status },
    { NULL, NULL, NULL, NULL, NULL },
};
