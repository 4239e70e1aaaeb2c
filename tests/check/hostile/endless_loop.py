"""Never answers, and keeps a processor busy."""


def forward(x):
    while True:
        pass
