use super::*;

#[test]
fn flags_are_consistent_and_every_command_has_examples_with_the_programs_name() {
    command("samebit").debug_assert();
    let all = command("mine");
    let commands =
        all.get_subcommands().flat_map(|one| [one].into_iter().chain(one.get_subcommands()));
    for command in commands {
        let help = command.clone().render_help().to_string();
        let examples = help.split_once("Examples:\n").expect("examples").1;
        let line = examples.lines().next().expect("an example");
        assert!(line.split(' ').any(|word| word == "mine"), "{}: {line}", command.get_name());
    }
}

#[test]
fn a_program_is_named_after_its_file() {
    let name = |path: &str| name_of(Some(OsStr::new(path)));
    assert_eq!([name("/a/b/mine"), name("mine"), name_of(None)], ["mine", "mine", "samebit"]);
    let version = |name: &str| command(name).render_version();
    assert_eq!(version("mine"), format!("mine (samebit {BUILD})\n"));
    assert_eq!(version("samebit"), format!("samebit {BUILD}\n"));
    assert_eq!(version("coordinator"), format!("coordinator {BUILD}\n"));
}

#[test]
fn every_command_has_a_manual_page_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    manual("mine", folder.path()).unwrap();
    let all = command("mine");
    for one in all.get_subcommands() {
        let page = folder.path().join(format!("mine-{}.1", one.get_name()));
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("Examples:"), "{}", page.display());
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command("mine"), "mine", &mut text);
        let text = String::from_utf8(text).unwrap();
        for one in all.get_subcommands() {
            assert!(text.contains(one.get_name()), "{shell}: {}", one.get_name());
        }
    }
    let error = completions("my prog", Shell::Bash).unwrap_err();
    assert!(error.contains("without spaces, found \"my prog\""), "{error}");
    let missing = manual("mine", &folder.path().join("none")).unwrap_err();
    assert!(
        missing.contains("/none: ") && missing.contains("name an existing folder"),
        "{missing}"
    );
}
