#include "cli/reports.h"

static int run(const struct cli_command *self, int argc, char **argv)
{
	return cli_reports(self, REPORT_TLS, argc, argv);
}

const struct cli_command cli_tlsrpt = {
	.name = "tlsrpt",
	.summary = "reports on TLS: ours seen and sent, others' read",
	.usage = "Usage: yizhan tlsrpt show [DOMAIN]\n"
		 "       yizhan tlsrpt send [DOMAIN] [--dry-run]\n"
		 "       yizhan tlsrpt read FILE|MAILBOX...\n"
		 "\n"
		 "show    how connections to others could be secured, as far as it was not yet reported; of a domain,\n"
		 "        in full. Works with and without a running server.\n"
		 "send    has the running server send its reports now instead of tonight, the present day's part\n"
		 "        included; with --dry-run nothing leaves, and it is shown who would get what.\n"
		 "read    shows reports that others sent: JSON, gzip, zip, a message, a mailbox file, a Maildir, or\n"
		 "        a directory of these.\n"
		 "\n"
		 "  -c, --config FILE     the server's configuration (default " CLI_CONFIG ")\n"
		 "      --json            as a JSON array\n"
		 "\n"
		 "Status 1: the server can't be asked or refused; for read, something held no report.\n",
	.run = run,
};
