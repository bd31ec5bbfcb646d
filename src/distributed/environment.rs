//! What a launcher tells a process of its place: torchrun's variables, else SLURM's.

use super::wire::Place;
use crate::{Error, Result};

/// Where no launcher names a port: PyTorch's.
const PORT: u16 = 29500;

/// The place of this process, `None` where nobody launched it as one of several.
pub(super) fn place(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Place>> {
    let names: [(&'static str, &'static str); 3] = match (variable("RANK"), variable("WORLD_SIZE")) {
        (None, None) => match (variable("SLURM_PROCID"), variable("SLURM_STEP_NUM_TASKS")) {
            // A script of `sbatch` has a SLURM_PROCID as well, but only `srun` makes a step of tasks.
            (Some(_), Some(_)) => {
                [("SLURM_PROCID", "a rank"), ("SLURM_STEP_NUM_TASKS", "a number of ranks"), ("SLURM_LOCALID", "a rank")]
            }
            _ => return Ok(None),
        },
        _ => [("RANK", "a rank"), ("WORLD_SIZE", "a number of ranks"), ("LOCAL_RANK", "a rank")],
    };
    let number = |(name, expected): (&'static str, &str)| -> Result<usize> {
        let value = variable(name).ok_or_else(|| Error::config(name, expected, "nothing"))?;
        value.parse().map_err(|_| Error::config(name, expected, value))
    };
    let (rank, size) = (number(names[0])?, number(names[1])?);
    if size < 1 || rank >= size {
        return Err(Error::config(names[0].0, format!("a rank below {} = {size}", names[1].0), rank));
    }
    let local_rank = if variable(names[2].0).is_some() { number(names[2])? } else { rank };
    let slurm = names[0].0.starts_with("SLURM");
    let master = match variable("MASTER_ADDR") {
        Some(master) => master,
        None if slurm => first_host(&variable("SLURM_STEP_NODELIST").unwrap_or_default())
            .ok_or_else(|| Error::config("SLURM_STEP_NODELIST", "the names of the step's nodes", "none"))?,
        None if size == 1 => "127.0.0.1".to_owned(),
        None => return Err(Error::config("MASTER_ADDR", "the address of rank 0", "nothing")),
    };
    let port = match variable("MASTER_PORT") {
        Some(port) => port.parse().map_err(|_| Error::config("MASTER_PORT", "a port", port))?,
        // Two jobs may share a node.
        None if slurm => {
            let job: u64 = variable("SLURM_JOB_ID").and_then(|job| job.parse().ok()).unwrap_or(0);
            20_000 + (job % 10_000) as u16
        }
        None => PORT,
    };
    let attempt = variable("TORCHELASTIC_RESTART_COUNT").filter(|count| count != "0");
    let attempt = attempt.map(|count| format!("attempt_{count}")).unwrap_or_default();
    let agent_store = variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True");
    Ok(Some(Place { rank, size, local_rank, master, port, attempt, agent_store }))
}

/// The first of `node[03-05,09],other`: `node03`.
fn first_host(list: &str) -> Option<String> {
    let host = match list.split_once('[') {
        Some((prefix, rest)) if !prefix.contains(',') => {
            let end = rest.find(['-', ',', ']'])?;
            let after = rest.split_once(']').map_or("", |(_, after)| after);
            format!("{prefix}{}{}", &rest[..end], after.split(',').next().unwrap_or_default())
        }
        _ => list.split(',').next()?.to_owned(),
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::{first_host, place};

    fn of(variables: &[(&str, &str)]) -> Result<Option<super::Place>, String> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        place(find).map_err(|error| error.to_string())
    }

    #[test]
    fn torchrun_then_slurm_then_alone() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap().is_none(), "a script of sbatch");
        let torchrun =
            [("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "7")];
        let place = of(&torchrun).unwrap().unwrap();
        assert_eq!((place.rank, place.size, place.local_rank, place.port), (3, 4, 1, 7));
        assert_eq!((place.master.as_str(), place.attempt.as_str(), place.agent_store), ("a", "", false));
        let again = [&torchrun[..], &[("TORCHELASTIC_RESTART_COUNT", "2"), ("TORCHELASTIC_USE_AGENT_STORE", "True")]];
        let place = of(&again.concat()).unwrap().unwrap();
        assert_eq!((place.attempt.as_str(), place.agent_store), ("attempt_2", true));
        let slurm = [
            ("SLURM_PROCID", "5"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_NODELIST", "gpu[07-09]"),
            ("SLURM_JOB_ID", "123456"),
        ];
        let place = of(&slurm).unwrap().unwrap();
        assert_eq!((place.rank, place.size, place.local_rank), (5, 8, 1));
        assert_eq!((place.master.as_str(), place.port), ("gpu07", 23456));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (variables, expected) in [
            (&[("RANK", "0")][..], "invalid `WORLD_SIZE`: expected a number of ranks, got nothing"),
            (&[("RANK", "x"), ("WORLD_SIZE", "2")], "invalid `RANK`: expected a rank, got x"),
            (&[("RANK", "2"), ("WORLD_SIZE", "2")], "invalid `RANK`: expected a rank below WORLD_SIZE = 2, got 2"),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2")],
                "invalid `MASTER_ADDR`: expected the address of rank 0, got nothing",
            ),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "99999")],
                "invalid `MASTER_PORT`: expected a port, got 99999",
            ),
        ] {
            assert_eq!(of(variables).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_first_host_of_a_list() {
        for (list, first) in [
            ("n1", "n1"),
            ("n1,n2", "n1"),
            ("n[1-3]", "n1"),
            ("n[03,05]", "n03"),
            ("a1,n[03,05]", "a1"),
            ("rack[2-3]-ib,x", "rack2-ib"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(first));
        }
        assert_eq!(first_host(""), None);
    }
}
