//! Networks chosen by name.

use std::collections::HashSet;

use soft_lmccl::model::{Architecture, Dsrf3dConfig, NetworkConfig};

use super::small;

#[test]
fn names_are_read_and_written_alike() {
    let mut names = HashSet::new();
    for architecture in Architecture::ALL {
        assert!(names.insert(architecture.name()));
        assert_eq!(architecture.name().parse::<Architecture>().unwrap(), architecture);
        assert_eq!(architecture.to_string(), architecture.name());
        let json = serde_json::to_string(&architecture).unwrap();
        assert_eq!(json, format!("\"{architecture}\""));
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);

        let config = architecture.config();
        config.validate().unwrap();
        assert_eq!(config.architecture(), architecture);
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["architecture"], architecture.name());
        // The name alone is the default.
        let named = serde_json::json!({ "architecture": architecture.name() });
        assert_eq!(serde_json::from_value::<NetworkConfig>(named).unwrap(), config);
        assert_eq!(config.clone().with_embedding_dim(77).embedding_dim(), 77);
    }
    for (config, _) in small() {
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<NetworkConfig>(&json).unwrap(), config);
    }
    assert_eq!(NetworkConfig::default().architecture(), Architecture::Compact);
}

#[test]
fn slips_in_a_configuration_are_told() {
    let read = |text| serde_json::from_str::<NetworkConfig>(text).unwrap_err().to_string();
    let message = read(r#"{ "architecture": "dsrf3d_v2", "dropuot": 0.5 }"#);
    assert!(message.contains("unknown field `dropuot`"), "{message}");
    let message = read(r#"{ "architecture": "vgg" }"#);
    assert!(message.contains("unknown variant `vgg`") && message.contains("`sphere20`"), "{message}");
    let config: NetworkConfig = serde_json::from_str(r#"{ "architecture": "dsrf3d_v2", "dropout": 0.5 }"#).unwrap();
    assert_eq!(config, NetworkConfig::Dsrf3dV2(Dsrf3dConfig { dropout: 0.5, ..Default::default() }));
}

/// The page of each network lists what its variables are called, `N` being any number.
#[test]
fn pages_list_the_variables() {
    let pattern = |name: &str| {
        let mut pattern = String::new();
        for letter in name.chars() {
            match letter.is_ascii_digit() {
                true if pattern.ends_with('N') => {}
                true => pattern.push('N'),
                false => pattern.push(letter),
            }
        }
        pattern
    };
    let pages = [
        include_str!("../../../src/model/compact_net.rs"),
        include_str!("../../../src/model/sphere_net.rs"),
        include_str!("../../../src/model/dsrf3d.rs"),
        include_str!("../../../src/model/rb3d.rs"),
        include_str!("../../../src/model/cb3d.rs"),
    ];
    for ((config, side), page) in small().iter().zip(pages) {
        let rows = page.lines().filter(|line| line.starts_with("/// | `"));
        let listed: HashSet<_> = rows
            .filter_map(|row| row.strip_prefix("/// | ")?.split(" | ").next())
            .flat_map(|names| names.split(", ").map(|name| name.trim_matches('`').to_owned()))
            .collect();
        let (vs, _net) = super::made(config, *side);
        let there: HashSet<_> = vs.variables().keys().map(|name| pattern(name)).collect();
        assert_eq!(there, listed, "{config:?}");
    }
}
