"""botocore's session, which reads AWS profiles and knows every source of credentials.

Law: what the environment says comes from a mapping that is passed in, as far as botocore lets us: of the process's own
it reads only what tells of roles (web identity, containers, the metadata service). It is imported only when needed
(0.3 s), and what it raises becomes ours here. Its messages name files and roles, and no secrets.
"""

import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelfs.credential_files import check_writers
from modelfs.errors import AccessRefusedError, StoreUnavailableError, UsageError

_TOKEN_CONNECT_S = 5
_TOKEN_READ_S = 10
"""For STS and SSO, which answer within a second; botocore would wait for a minute, five times."""


def config_file(environment: Mapping[str, str]) -> Path:
    """Return where the AWS configuration file is, or would be."""
    return _file(environment, "AWS_CONFIG_FILE", "config")


def credentials_file(environment: Mapping[str, str]) -> Path:
    """Return where the AWS credentials file is, or would be."""
    return _file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials")


def open_session(environment: Mapping[str, str]) -> Any:
    """Return a session for the profile and the files that ``environment`` names. Call it within ``with_botocore``.

    It does not look for keys in the environment: see ``credentials``. Raises UsageError for a file that others can
    write.
    """
    import botocore.session  # noqa: PLC0415  see the law
    from botocore.config import Config  # noqa: PLC0415  only when it is needed
    from botocore.configprovider import ConstantProvider  # noqa: PLC0415  only when it is needed

    for path in (config_file(environment), credentials_file(environment)):
        check_writers(path)
    session = botocore.session.Session()
    settings = session.get_component("config_store")
    settings.set_config_provider("profile", ConstantProvider(environment.get("AWS_PROFILE", "").strip() or None))
    session.set_config_variable("config_file", str(config_file(environment)))
    session.set_config_variable("credentials_file", str(credentials_file(environment)))
    session.set_default_client_config(
        Config(connect_timeout=_TOKEN_CONNECT_S, read_timeout=_TOKEN_READ_S, retries={"total_max_attempts": 2})
    )
    return session


def with_botocore(call: Callable[[], Any]) -> Any:
    """Run ``call`` and turn what botocore raises into ours."""
    from botocore import exceptions  # noqa: PLC0415  imported only where botocore is in use already

    try:
        return call()
    except (exceptions.ProfileNotFound, exceptions.ConfigParseError, exceptions.PartialCredentialsError) as error:
        said = str(error).rstrip(".")
        raise UsageError(
            f"the AWS profile cannot be used: {said}; check AWS_PROFILE and what 'aws configure list' says"
        ) from error
    except (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.MetadataRetrievalError) as error:
        raise StoreUnavailableError(f"AWS credentials cannot be had from their source now: {error}") from error
    except (exceptions.BotoCoreError, exceptions.ClientError, RuntimeError) as error:
        # RuntimeError is what botocore raises for credentials that stayed expired after a refresh
        raise AccessRefusedError(f"AWS credentials cannot be had: {error}; check the profile or role") from error
    except (ValueError, KeyError, TypeError) as error:
        # neither chained nor quoted: what could not be read may be a secret
        raise AccessRefusedError(
            "AWS credentials cannot be had: their source (a credential_process or an endpoint) answers what is no"
            f" credentials ({type(error).__name__}); check the profile or role"
        ) from None
    except OSError as error:  # a web identity's token, or a credential_process that is not there
        raise AccessRefusedError(
            f"AWS credentials cannot be had: {error.filename or 'a file'}: {error.strerror}; check the profile or role"
        ) from error


def _file(environment: Mapping[str, str], variable: str, name: str) -> Path:
    if file := environment.get(variable):
        return Path(os.path.expanduser(file))  # noqa: PTH111  as botocore does; Path's own raises for an unknown user
    return Path(environment.get("HOME") or _home_of_user()) / ".aws" / name


def _home_of_user() -> str:
    """Return the home that the user database tells: systemd gives its services no HOME."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a number without a name, as containers have
        return "/"
