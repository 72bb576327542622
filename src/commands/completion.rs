//! `hako completion`: what lets a shell complete the words of a command line.

use super::state::print;
use crate::cli::{Cli, Shell};
use crate::error::Result;
use clap::{Command, CommandFactory};

/// Prints a script for the shell to read.
pub fn run(shell: Shell) -> Result<()> {
    let mut hako = Cli::command();
    // Options of every command are then options of each.
    hako.build();
    print(&match shell {
        Shell::Bash => bash(&hako),
        Shell::Zsh => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(&hako)),
        Shell::Fish => fish(&hako),
    })
}

/// `--option` of a command, each with its short form and what it does.
fn options(command: &Command) -> impl Iterator<Item = (String, Option<char>, String)> {
    command.get_arguments().filter_map(|argument| {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        Some((argument.get_long()?.to_owned(), argument.get_short(), help))
    })
}

/// Whether a command is about containers that exist.
fn takes_id(command: &Command) -> bool {
    const NEW: [&str; 3] = ["create", "run", "explain"];
    !NEW.contains(&command.get_name())
        && command.get_positionals().any(|word| word.get_id() == "id")
}

fn bash(hako: &Command) -> String {
    let words = |command: &Command| -> String {
        options(command).map(|(long, ..)| format!("--{long} ")).collect()
    };
    let verbs: Vec<&str> = hako.get_subcommands().map(Command::get_name).collect();
    let mut cases = format!("    '') words='{}{}' ;;\n", words(hako), verbs.join(" "));
    for command in hako.get_subcommands() {
        let ids = if takes_id(command) { " ids=1" } else { "" };
        cases.push_str(&format!(
            "    {}) words='{}'{ids} ;;\n",
            command.get_name(),
            words(command)
        ));
    }
    format!(
        "_hako() {{
    local word verb= words= ids= current=${{COMP_WORDS[COMP_CWORD]}}
    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
        case $word in {}) verb=$word && break ;; esac
    done
    case $verb in
{cases}    esac
    [ -z \"$ids\" ] || words+=$(hako list --quiet 2>/dev/null)
    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))
}}
complete -o default -F _hako hako
",
        verbs.join("|")
    )
}

fn fish(hako: &Command) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut script = String::new();
    for command in hako.get_subcommands() {
        let name = command.get_name();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let here = format!("complete -c hako -n '__fish_seen_subcommand_from {name}'");
        script.push_str(&format!(
            "complete -c hako -f -n __fish_use_subcommand -a {name} -d {}\n",
            quoted(&about)
        ));
        for (long, short, help) in options(command) {
            let short = short.map_or(String::new(), |short| format!(" -s {short}"));
            script.push_str(&format!("{here} -l {long}{short} -d {}\n", quoted(&help)));
        }
        if takes_id(command) {
            script.push_str(&format!("{here} -f -a '(hako list --quiet 2>/dev/null)'\n"));
        }
    }
    script
}
