//! Help texts are written for the names `coordinator` and `worker`. This inserts the name under
//! which the program was started.

use clap::builder::{Resettable, StyledStr};

/// Separates a command from its explanation in a line of examples.
const GAP: &str = "   ";

/// Replaces the program name `from` by `to` in the help of a command and all its
/// subcommands: in lines of examples, and in code within sentences.
pub(super) fn name_examples(command: clap::Command, from: &str, to: &str) -> clap::Command {
    let rename = |text: Option<&StyledStr>| {
        Resettable::from(text.map(|text| StyledStr::from(renamed(&text.to_string(), from, to))))
    };
    let (about, long_about) = (rename(command.get_about()), rename(command.get_long_about()));
    let after = rename(command.get_after_help());
    let after_long = rename(command.get_after_long_help());
    command
        .about(about)
        .long_about(long_about)
        .after_help(after)
        .after_long_help(after_long)
        .mut_args(|flag| {
            let (help, long) = (rename(flag.get_help()), rename(flag.get_long_help()));
            flag.help(help).long_help(long)
        })
        .mut_subcommands(|command| name_examples(command, from, to))
}

fn renamed(text: &str, from: &str, to: &str) -> String {
    let text = text.replace(&format!("`{from} "), &format!("`{to} "));
    let mut in_examples = false;
    let lines = text.split('\n').map(|line| {
        in_examples = line == "Examples:" || in_examples && !line.is_empty();
        if in_examples { in_example(line, from, to) } else { line.to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line of examples with the name replaced in the command, not in the explanation.
fn in_example(line: &str, from: &str, to: &str) -> String {
    let typed = line.trim_start();
    let indent = line.len() - typed.len();
    let end = typed.find(GAP).unwrap_or(typed.len());
    let words = typed[..end].split(' ').map(|word| if word == from { to } else { word });
    let words: Vec<&str> = words.collect();
    format!("{}{}{}", &line[..indent], words.join(" "), &typed[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_and_code_have_the_name_and_nothing_else_does() {
        let text = "The coordinator, as `coordinator runs` says.\n\nExamples:\n  coordinator run   \
                    of a coordinator\n  A=b coordinator serve\n\nThe coordinator.";
        let expected = "The coordinator, as `mine runs` says.\n\nExamples:\n  mine run   \
                        of a coordinator\n  A=b mine serve\n\nThe coordinator.";
        assert_eq!(renamed(text, "coordinator", "mine"), expected);
    }
}
